"""Whose credentials are sent: the same in a worker and in the triggerer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_dicom.exceptions import GoogleApiError
from airflow_dicom.hooks.endpoint import UNIVERSE_VARIABLE, universe

if TYPE_CHECKING:
    from airflow.providers.google.common.hooks.base_google import GoogleBaseHook
    from google.auth.credentials import Credentials


def credentials_of(hook: GoogleBaseHook) -> Credentials:
    """Return a connection's credentials.

    :raises GoogleApiError: they are of another universe than the one that is asked, or Airflow's provider for Google is too old for
        what the connection says.
    """
    credentials = hook.get_credentials()
    own = getattr(credentials, "universe_domain", universe())
    if own != universe():
        raise GoogleApiError(
            f"The connection's credentials are of the universe {own}; {universe()} is asked. Set {UNIVERSE_VARIABLE}={own} for "
            "workers and triggerers, or give the connection other credentials."
        )
    quota_project = hook._get_field("quota_project_id")
    if quota_project and not hook._get_field("is_anonymous") and credentials.quota_project_id != quota_project:
        raise GoogleApiError(
            f"The connection's quota_project_id is {quota_project!r}, and this version of apache-airflow-providers-google does not "
            "know that field: 22.0 is the first that does. Install it, or remove the field."
        )
    return credentials
