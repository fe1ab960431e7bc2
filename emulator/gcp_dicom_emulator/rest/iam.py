"""IAM policies of datasets, DICOM stores, topics and subscriptions.

They are kept and given back, but not applied: the emulator knows no users.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Callable
from typing import Any

from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.server import Call

_TABLES = "CREATE TABLE IF NOT EXISTS iam_policies (resource TEXT PRIMARY KEY, policy TEXT NOT NULL) WITHOUT ROWID;"

#: The ``etag`` of a resource that never had a policy.
_NO_POLICY = "ACAB"
_MASK = {"bindings", "etag"}
_ROLE = re.compile(r"roles/[\w.]+|(?:projects|organizations)/[^/]+/roles/[\w.]+", re.ASCII)
_MEMBER = re.compile(
    r"allUsers|allAuthenticatedUsers|(?:deleted:)?(?:user|serviceAccount|group):[^\s:@]+@\S+|serviceAccount:\S+\[\S+\]"
    r"|domain:[^\s@]+|(?:deleted:)?principal(?:Set)?://iam\.googleapis\.com/\S+|project(?:Owner|Editor|Viewer):\S+"
)
_PERMISSION = re.compile(r"[a-zA-Z]+(?:\.[a-zA-Z]+){2,}")


class IamPolicies:
    """The policies of all resources.

    :param state: where they are kept.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        state.create_tables(_TABLES)

    def handlers(self, prefix: str, check: Callable[[str], Any]) -> dict[str, Callable[[Call], dict[str, Any]]]:
        """Return the three methods of a kind of resource.

        :param prefix: the methods' common id, e.g. ``healthcare.projects.locations.datasets``.
        :param check: takes a resource's name; raises ApiError when there is none.
        """

        def checked(method: Callable[[str, Call], dict[str, Any]]) -> Callable[[Call], dict[str, Any]]:
            def handle(call: Call) -> dict[str, Any]:
                check(call.path["resource"])
                return method(call.path["resource"], call)

            return handle

        return {
            f"{prefix}.getIamPolicy": checked(self._get),
            f"{prefix}.setIamPolicy": checked(self._set),
            f"{prefix}.testIamPermissions": checked(self._test),
        }

    def delete_below(self, name: str) -> None:
        """Forget the policies of a resource and of all below it."""
        with self._state.transaction() as connection:
            connection.execute(
                "DELETE FROM iam_policies WHERE resource = :name OR substr(resource, 1, length(:name) + 1) = :name || '/'",
                {"name": name},
            )

    def _get(self, resource: str, call: Call) -> dict[str, Any]:
        version = call.query.get("options.requestedPolicyVersion", "0")
        if version not in ("0", "1", "2", "3"):
            raise ApiError(400, f"Invalid options.requestedPolicyVersion {version!r}; it must be 0, 1 or 3.")
        return self._policy(resource)

    def _policy(self, resource: str) -> dict[str, Any]:
        rows = self._state.query("SELECT policy FROM iam_policies WHERE resource = ?", (resource,))
        policy: dict[str, Any] = json.loads(rows[0]["policy"]) if rows else {"etag": _NO_POLICY}
        return policy

    def _set(self, resource: str, call: Call) -> dict[str, Any]:
        policy = call.body.get("policy")
        if policy is None:
            raise ApiError(400, "policy is required.")
        unknown = {path.strip() for path in (call.body.get("updateMask") or "bindings,etag").split(",")} - _MASK
        if unknown:
            raise ApiError(501, f"The emulator does not do updateMask={','.join(sorted(unknown))} of a policy.")
        _check_policy(policy)
        kept = {key: policy[key] for key in ("version", "bindings") if policy.get(key)}
        kept["etag"] = base64.b64encode(secrets.token_bytes(8)).decode()
        with self._state.transaction() as connection:
            etag = policy.get("etag")
            if etag and etag.rstrip("=") != self._policy(resource)["etag"].rstrip("="):
                raise ApiError(
                    409,
                    "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff.",
                    status="ABORTED",
                )
            connection.execute("INSERT OR REPLACE INTO iam_policies VALUES (?, ?)", (resource, json.dumps(kept)))
        return kept

    def _test(self, resource: str, call: Call) -> dict[str, Any]:
        permissions = call.body.get("permissions") or []
        for permission in permissions:
            if not _PERMISSION.fullmatch(permission):
                raise ApiError(400, f"Invalid permission {permission!r}; it must look like healthcare.dicomStores.get.")
        return {"permissions": list(dict.fromkeys(permissions))} if permissions else {}


def _check_policy(policy: dict[str, Any]) -> None:
    """Check a policy that is to be set.

    :raises ApiError: 400 for what IAM refuses, 501 for what would be kept without any meaning.
    """
    if str(policy.get("version") or 0) not in ("0", "1", "3"):
        raise ApiError(400, f"Invalid policy version {policy['version']!r}; it must be 0, 1 or 3.")
    if policy.get("auditConfigs"):
        raise ApiError(501, "The emulator does not do auditConfigs.")
    for binding in policy.get("bindings") or []:
        role, members = binding.get("role", ""), binding.get("members") or []
        if binding.get("condition"):
            raise ApiError(501, "The emulator does not do conditions of bindings.")
        if not _ROLE.fullmatch(role):
            raise ApiError(
                400, f"Role {role!r} is not supported for this resource; it must look like roles/healthcare.dicomEditor."
            )
        if not members:
            raise ApiError(400, f"The binding of {role} has no members.")
        for member in members:
            if not _MEMBER.fullmatch(member):
                raise ApiError(400, f"Invalid member {member!r}; it must look like user:alice@example.com.")
