"""Create, get, list, update and delete what the Healthcare API keeps: the same for DICOM stores and datasets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_dicom.exceptions import DicomArgumentError, HealthcareApiError
from airflow_dicom.operators._connection import NOT_GIVEN, OneOf, as_mapping, is_nothing, one_or_many
from airflow_dicom.operators._dataset import HealthcareOperator
from airflow_dicom.work.journal import NO_STORE, Journal
from airflow_dicom.work.plan import Plan, Repeat

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_dicom.typing import Templated

_NOT_FOUND, _CONFLICT = 404, 409


def _fields_of(body: Any) -> dict[str, Any]:
    """Return the fields of a resource.

    :raises DicomArgumentError: it is not a mapping, or a value got lost: an update would empty the field.
    """
    fields = dict(as_mapping(body, "body"))
    for name, value in fields.items():
        if value is None or value == "None":
            raise DicomArgumentError(
                f"body.{name} is {value!r}; nothing was sent. Look at what it is made of: a task that was skipped, an empty parameter."
                " To empty a field, give it an empty value, {} or [], or name it in update_mask and leave it out of body."
            )
    return fields


class ResourceOperator(HealthcareOperator):
    """An operator on a resource by its name; what it does takes a moment, so that it does not defer."""

    #: The collection's part of the methods' names, such as ``dicomStores.``; the datasets' own have none.
    collection: ClassVar[str]
    #: What the methods call the id of a resource that is made.
    id_parameter: ClassVar[str]

    def resource_name(self) -> str:
        """Return the resource's name."""
        raise NotImplementedError

    def _call(self, verb: str, *, repeatable: bool = True, **parameters: Any) -> dict[str, Any]:
        return self.hook.call(f"{self.collection}{verb}", repeatable=repeatable, **parameters)

    def _get(self) -> dict[str, Any]:
        return self._call("get", name=self.resource_name())


class _EarlierTries:
    """Whether an earlier try of a task has sent the request: if its answer was lost, this try meets what it has done.

    :param operator: whose task it is.
    """

    def __init__(self, operator: ResourceOperator, context: Context) -> None:
        self._journal = Journal.of(context, operator.retries)
        self._plan = Plan(method="", name=operator.resource_name(), body={}, subject="")
        found = self._journal.found_at_start(Repeat.SAFE)
        #: Whether one has.
        self.have_sent = self._journal.goes_on(self._plan, found)
        #: Whether one may have: before Airflow 3.3, a retry does not know.
        self.may_have_sent = self.have_sent or (found == NO_STORE and self._journal.now.may_be_a_retry)

    def store(self) -> None:
        """Store that the request is sent now."""
        self._journal.store(self._plan)

    def forget(self) -> None:
        """Store that it had no effect."""
        self._journal.forget()


def _explain(error: HealthcareApiError, what: str, what_to_do: str) -> HealthcareApiError:
    """Return a refusal that may be due to what an earlier try has done."""
    message = f"{error}\nAn earlier try of this task may have {what}, if its answer was lost. {what_to_do}"
    return HealthcareApiError(message, status_code=error.status_code)


class GetOperator(ResourceOperator):
    """Return a resource."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the resource, as the API tells it.

        :raises HealthcareApiError: there is none, or the API refused.
        """
        self._check_arguments()
        return self._get()


class CreateOperator(ResourceOperator):
    """Make a resource.

    :param body: what it is to be, in the API's fields (templated)
    :param if_exists: what it means that there is one already: ``"fail"``, ``"skip"`` (the task) or ``"ignore"``, which returns the
        one that is there (templated)
    """

    template_fields: Sequence[str] = ("body", "if_exists", *HealthcareOperator.template_fields)
    checks = {"if_exists": OneOf("if_exists", "fail", "skip", "ignore")}

    def __init__(
        self, *, body: dict[str, Any] | Templated | None = NOT_GIVEN, if_exists: Templated = "fail", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.body: Any
        self._replace_default(body=body)
        self.if_exists: Any = if_exists
        self._check_literals()

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the resource, as the API tells it.

        :raises HealthcareApiError: the API refused.
        """
        self._check_arguments()
        body = {} if self.body is None else _fields_of(self.body)
        if self.if_exists == "ignore":
            return self._create_or_get(body)
        earlier = _EarlierTries(self, context)
        earlier.store()
        try:
            # Sent again, a request whose answer was lost would find what it has made itself.
            return self._create(body, repeatable=False)
        except HealthcareApiError as error:
            if error.status_code != _CONFLICT:
                raise
            if earlier.may_have_sent:
                what_to_do = "Look at what it holds; with if_exists='ignore', the task takes what is there."
                raise _explain(error, "made it", what_to_do) from error
            earlier.forget()
            if self.if_exists == "fail":
                raise
        raise AirflowSkipException(f"{self.resource_name()} exists already.")

    def _create_or_get(self, body: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._create(body, repeatable=True)
        except HealthcareApiError as error:
            if error.status_code != _CONFLICT:
                raise
        found = self._get()
        if others := sorted(field for field, value in body.items() if found.get(field) != value):
            self.log.warning(
                "%s exists already, and differs from what was asked for in: %s", self.resource_name(), ", ".join(others)
            )
        return found

    def _create(self, body: dict[str, Any], *, repeatable: bool) -> dict[str, Any]:
        parent, _, resource_id = self.resource_name().rpartition("/")
        parent = parent.rpartition("/")[0]
        return self._call("create", repeatable=repeatable, parent=parent, body=body, **{self.id_parameter: resource_id})


class UpdateOperator(ResourceOperator):
    """Change fields of a resource.

    :param body: the fields and their new values, in the API's names (templated)
    :param update_mask: the fields to change; by default those that ``body`` has. One that ``body`` lacks is emptied (templated)
    """

    template_fields: Sequence[str] = ("body", "update_mask", *HealthcareOperator.template_fields)

    def __init__(
        self, *, body: dict[str, Any] | Templated, update_mask: Sequence[str] | Templated | None = NOT_GIVEN, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.body: Any = body
        self.update_mask: Any
        self._narrow(update_mask=update_mask)

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the resource as it is now.

        :raises HealthcareApiError: the API refused.
        """
        self._check_arguments()
        body = _fields_of(self.body)
        mask = self.update_mask.split(",") if isinstance(self.update_mask, str) else self.update_mask
        fields = sorted(body) if mask is None else one_or_many(mask)
        if not fields or any(is_nothing(field) or not isinstance(field, str) for field in fields):
            raise DicomArgumentError(
                f"body is {body!r} and update_mask is {self.update_mask!r}; they must name the fields to change, each as a text."
            )
        return self._call("patch", name=self.resource_name(), updateMask=",".join(fields), body=body)


class DeleteOperator(ResourceOperator):
    """Delete a resource with all that is in it.

    :param delete_contents: whether to delete it although something is in it (templated)
    :param if_missing: what it means that there is none: ``"fail"``, ``"skip"`` (the task) or ``"ignore"`` (templated)
    """

    template_fields: Sequence[str] = ("delete_contents", "if_missing", *HealthcareOperator.template_fields)
    checks = {"if_missing": OneOf("if_missing", "fail", "skip", "ignore")}

    def __init__(self, *, delete_contents: bool | Templated = False, if_missing: Templated = "fail", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.delete_contents: Any = delete_contents
        self.if_missing: Any = if_missing
        self._check_literals()

    def contents(self, name: str) -> str:
        """Return what is in the resource, in words; nothing if it is empty."""
        raise NotImplementedError

    def execute(self, context: Context) -> None:
        """Delete it.

        :raises DicomArgumentError: something is in it, and ``delete_contents`` does not say that this may go.
        :raises HealthcareApiError: there is none, or the API refused.
        """
        self._check_arguments()
        name = self.resource_name()
        earlier = _EarlierTries(self, context)
        try:
            if str(self.delete_contents) != "True" and (contents := self.contents(name)):
                raise DicomArgumentError(
                    f"{name} is not deleted: {contents}. Set delete_contents=True to delete it with all of that."
                )
            if self.if_missing != "ignore":
                earlier.store()
            self._delete(name)
        except HealthcareApiError as error:
            if error.status_code != _NOT_FOUND:
                raise
            if earlier.have_sent or self.if_missing == "ignore":
                self.log.info("%s does not exist%s.", name, ": an earlier try has deleted it" if earlier.have_sent else "")
                return
            if earlier.may_have_sent:
                raise _explain(error, "deleted it", "With if_missing='ignore', the task succeeds.") from error
            earlier.forget()
            if self.if_missing == "skip":
                raise AirflowSkipException(f"{name} does not exist.") from error
            raise

    def _delete(self, name: str) -> None:
        try:
            self._call("delete", name=name)
        except HealthcareApiError as error:
            if error.status_code != _NOT_FOUND or not error.after_lost_answer:
                raise
            self.log.info("%s is gone: the request whose answer was lost has deleted it.", name)


class ListOperator(ResourceOperator):
    """Return the names of all resources of a kind."""

    #: The field of the answer that holds the resources.
    field: ClassVar[str]

    def parent(self) -> str:
        """Return the name of what holds them."""
        raise NotImplementedError

    def execute(self, context: Context) -> list[str]:
        """Return their names.

        :raises HealthcareApiError: the API refused.
        """
        self._check_arguments()
        names: list[str] = []
        token = None
        while True:
            page = self._call("list", parent=self.parent(), pageToken=token, **self.query())
            names += [one["name"] for one in page.get(self.field, [])]
            token = page.get("nextPageToken")
            if not token:
                return names

    def query(self) -> dict[str, Any]:
        """Return what narrows the list."""
        return {}
