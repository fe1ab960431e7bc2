"""What all operators share: the connection, and how their arguments are checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.policy import OnEmpty

if TYPE_CHECKING:
    from airflow_dicom.typing import Templated

#: The default of an argument that narrows what a task does: to leave it out and to give ``None`` are two things.
NOT_GIVEN: Any = type("NotGiven", (), {"__repr__": lambda _: "not given"})()


def check_connection(value: Any) -> None:
    """Check ``gcp_conn_id``.

    :raises DicomArgumentError: it is not the id of a connection.
    """
    if not isinstance(value, str):
        raise DicomArgumentError(f"gcp_conn_id is {value!r}; it must be the id of a connection.")


def check_impersonation_chain(value: Any) -> None:
    """Check ``impersonation_chain``.

    :raises DicomArgumentError: it is not an account, or several ones.
    """
    accounts = [value] if isinstance(value, str) else value
    if not isinstance(accounts, Sequence) or any(not isinstance(one, str) or is_nothing(one) for one in accounts):
        raise DicomArgumentError(
            f"impersonation_chain is {value!r}; it must be the address of a service account, or a list of such."
        )


class ConnectionOperator(BaseOperator):
    """An operator that uses a Google Cloud connection.

    :param gcp_conn_id: the Google Cloud connection (templated)
    :param impersonation_chain: the service account to impersonate, or a chain of them (templated)
    """

    template_fields: Sequence[str] = ("gcp_conn_id", "impersonation_chain")
    ui_color = "#d7e8f7"
    ui_fgcolor = "#123a5e"

    #: What checks an argument's value, by the argument's name; it raises a ``ValueError`` that names the argument. A class adds to
    #: what its bases check.
    checks: ClassVar[Mapping[str, Callable[[Any], object]]] = {
        "gcp_conn_id": check_connection,
        "impersonation_chain": check_impersonation_chain,
    }

    #: The arguments that are ``True`` or ``False``, and not templated. A class adds to those of its bases.
    switches: ClassVar[Sequence[str]] = ()

    #: The attributes, beside the arguments, that a deferral keeps: what took a request to find out.
    found_out: ClassVar[Sequence[str]] = ()

    def __init__(
        self,
        *,
        gcp_conn_id: Templated = "google_cloud_default",
        impersonation_chain: Templated | Sequence[str] | None = NOT_GIVEN,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._narrowing: set[str] = set()
        self.gcp_conn_id: Any
        self._narrow(gcp_conn_id=gcp_conn_id)
        self.impersonation_chain: Any
        self._replace_default(impersonation_chain=impersonation_chain)

    def _narrow(self, **arguments: Any) -> None:
        """Store arguments that narrow what the task does, such as a filter, and remember which were given.

        ``None`` in a DAG's file means that there is none; the ``None`` of a mapped task, or of a template, is a value that got lost.
        """
        is_mapped = getattr(self, "_BaseOperator__from_mapped", False)  # Airflow has no other word for it
        for name, value in arguments.items():
            if value is not NOT_GIVEN and (value is not None or is_mapped):
                self._narrowing.add(name)
            setattr(self, name, None if value is NOT_GIVEN else value)

    def _replace_default(self, **arguments: Any) -> None:
        """Store arguments that replace what the connection says. Nothing, in a DAG's file, means what the connection says.

        What a template has made of them is another thing: the task would be about another project, or run as another account.
        """
        self._narrow(**{name: NOT_GIVEN if is_nothing(value) else value for name, value in arguments.items()})

    def _rendered(self) -> dict[str, Any]:
        """Return the arguments as they are now, for the part of the task that comes after a deferral."""
        return {name: getattr(self, name) for name in self._remembered if _is_json(getattr(self, name))}

    def _restore(self, rendered: Mapping[str, Any] | None) -> None:
        """Take up the arguments that the request was made of: rendered once more, they may be others."""
        for name in self._remembered:
            if rendered is not None and name in rendered:
                setattr(self, name, rendered[name])

    @property
    def _remembered(self) -> Sequence[str]:
        return (*self.template_fields, *self.found_out)

    def _check_literals(self) -> None:
        """Refuse, when the DAG's file is parsed, what cannot be right whatever the run.

        :raises DicomArgumentError: an argument without a template cannot be used.
        """
        self._check_switches()
        for name, check in self._inherited_checks.items():
            value = getattr(self, name)
            if isinstance(value, str) and not ("{{" in value or "{%" in value):
                _check(name, value, check)

    def _check_arguments(self) -> None:
        """Refuse what templates have rendered to.

        :raises DicomArgumentError: an argument cannot be used, or one that narrows what the task does was given and is empty.
        """
        self._check_switches()
        for name in sorted(self._narrowing):
            value = getattr(self, name)
            if is_nothing(value) or value is False:
                raise DicomArgumentError(
                    f"{name} was given and is {value!r} now. It says what the task is about, or what may fail: without it, the task "
                    "would do more than it was asked for, or something else; nothing was sent. Look at what it is made of: a task "
                    "that was skipped, an empty parameter. To mean everything, or what is the default, leave the argument out."
                )
        for name, check in self._inherited_checks.items():
            if getattr(self, name) is not None or isinstance(check, OneOf):
                _check(name, getattr(self, name), check)

    @property
    def _inherited_checks(self) -> Mapping[str, Callable[[Any], object]]:
        every: dict[str, Callable[[Any], object]] = {}
        for kind in reversed(type(self).__mro__):
            every |= vars(kind).get("checks", {})
        return every

    def _arguments_of(self, attribute: str) -> Iterator[str]:
        """Return the names of arguments that the classes of this operator have in an attribute."""
        return (name for kind in type(self).__mro__ for name in vars(kind).get(attribute, ()))

    def _check_switches(self) -> None:
        for name in self._arguments_of("switches"):
            value = getattr(self, name)
            if value not in (True, False):
                raise DicomArgumentError(f"{name} is {value!r}; it must be True or False, and is not templated.")


def _check(name: str, value: Any, check: Callable[[Any], object]) -> None:
    try:
        check(value)
    except (TypeError, ValueError) as error:
        raise DicomArgumentError(str(error) if name in str(error) else f"{name}: {error}") from error


def _is_json(value: Any) -> bool:
    """Tell whether Airflow stores a value, and returns the same: what it cannot store is rendered again."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


class OneOf:
    """Checks that an argument is one of a few words, and not ``None`` either."""

    def __init__(self, argument: str, *choices: str) -> None:
        self._argument = argument
        self._choices = choices

    def __call__(self, value: Any) -> None:
        """Check it.

        :raises DicomArgumentError: it is another one.
        """
        if value not in self._choices:
            words = (" or " if len(self._choices) == 2 else ", ").join(map(repr, self._choices))
            raise DicomArgumentError(f"{self._argument} is {value!r}; it can be {words}.")


#: What checks ``on_empty``.
check_on_empty = OneOf("on_empty", *get_args(OnEmpty))


def is_nothing(value: Any) -> bool:
    """Tell whether what a template has rendered to, or another task has returned, holds no value."""
    if value is None or (isinstance(value, str) and value.strip() in ("", "None")):
        return True
    return isinstance(value, Sized) and not len(value)


def one_or_many(value: Any) -> list[Any]:
    """Return what an argument names that takes one thing or several: what a mapped task has returned is a sequence, not a list."""
    is_many = isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))
    return list(value) if is_many else [value]


def as_mapping(value: Any, argument: str) -> Mapping[str, Any]:
    """Return a mapping; a template renders to one in a DAG with ``render_template_as_native_obj=True`` only.

    :raises DicomArgumentError: it is something else, such as a text.
    """
    if not isinstance(value, Mapping):
        raise DicomArgumentError(
            f"{argument} is {value!r}; it must be a mapping. A template that renders to one needs a DAG with "
            "render_template_as_native_obj=True."
        )
    return value


def as_int(value: Any, argument: str) -> int | None:
    """Return a number, or ``None``, that a template may have rendered to a text.

    :raises DicomArgumentError: it is not a whole number.
    """
    if value in (None, "None"):
        return None
    try:
        return int(str(value))  # not of 1.5, nor of True
    except ValueError as error:
        raise DicomArgumentError(f"{argument} is {value!r}; it must be a whole number, or None.") from error


def as_text(value: Any, argument: str) -> str | None:
    """Return a name, or ``None``; native rendering makes a number of a project's.

    :raises DicomArgumentError: it is something else.
    """
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, int) or isinstance(value, bool):
        raise DicomArgumentError(f"{argument} is {value!r}; it must be a text.")
    return str(value)


def as_count(value: Any, argument: str) -> int | None:
    """Return how many of something there are, or ``None``, as :func:`as_int` does.

    :raises DicomArgumentError: it is not a whole number, or below 0.
    """
    count = as_int(value, argument)
    if count is not None and count < 0:
        raise DicomArgumentError(f"{argument} is {value!r}; it must be 0 or more.")
    return count
