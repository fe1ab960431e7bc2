"""IAM policies of datasets and DICOM stores."""

from __future__ import annotations

from typing import Any

import pytest

from tests.healthcare.conftest import World, http_error

BINDINGS = [{"role": "roles/healthcare.dicomEditor", "members": ["user:alice@example.com", "allAuthenticatedUsers"]}]


@pytest.fixture(params=["dataset", "store"])
def resource(request: pytest.FixtureRequest, versioned: World) -> tuple[Any, str]:
    """The client of a kind of resource, and the name of one."""
    if request.param == "dataset":
        return versioned.datasets, versioned.dataset
    return versioned.stores, versioned.store


def test_a_policy_is_kept(resource: tuple[Any, str]) -> None:
    api, name = resource
    before = api.getIamPolicy(resource=name).execute()
    assert before == {"etag": "ACAB"}
    policy = {"version": 1, "bindings": BINDINGS, "etag": before["etag"]}
    made = api.setIamPolicy(resource=name, body={"policy": policy}).execute()
    assert made["bindings"] == BINDINGS
    assert made["etag"] != before["etag"]
    assert api.getIamPolicy(resource=name, options_requestedPolicyVersion=3).execute() == made
    emptied = api.setIamPolicy(resource=name, body={"policy": {}}).execute()
    assert emptied.keys() == {"etag"}


def test_of_two_changes_at_once_the_second_is_refused(resource: tuple[Any, str]) -> None:
    api, name = resource
    etag = api.getIamPolicy(resource=name).execute()["etag"]
    body = {"policy": {"bindings": BINDINGS, "etag": etag}}
    api.setIamPolicy(resource=name, body=body).execute()
    assert http_error(api.setIamPolicy(resource=name, body={"policy": {"etag": etag}}))[:2] == (409, "ABORTED")
    assert api.getIamPolicy(resource=name).execute()["bindings"] == BINDINGS


def test_everyone_has_every_permission(resource: tuple[Any, str]) -> None:
    api, name = resource
    permissions = ["healthcare.dicomStores.get", "healthcare.dicomStores.import"]
    assert api.testIamPermissions(resource=name, body={"permissions": permissions}).execute() == {"permissions": permissions}
    assert api.testIamPermissions(resource=name, body={}).execute() == {}


@pytest.mark.parametrize("permission", ["*", "healthcare.*", "healthcare.dicomStores.*", "get", ""])
def test_bad_permissions(world: World, permission: str) -> None:
    request = world.stores.testIamPermissions(resource=world.store, body={"permissions": [permission]})
    assert http_error(request)[:2] == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"policy": None}, 400),
        ({"policy": {"version": 2}}, 400),
        ({"policy": {"bindings": [{"role": "editor", "members": ["allUsers"]}]}}, 400),
        ({"policy": {"bindings": [{"role": "roles/viewer"}]}}, 400),
        ({"policy": {"bindings": [{"role": "roles/viewer", "members": ["alice"]}]}}, 400),
        ({"policy": {"bindings": [{"members": ["allUsers"]}]}}, 400),
        ({"policy": {"bindings": [{**BINDINGS[0], "condition": {"expression": "true"}}]}}, 501),
        ({"policy": {"auditConfigs": [{"service": "allServices"}]}}, 501),
        ({"policy": {}, "updateMask": "auditConfigs"}, 501),
    ],
)
def test_bad_policies(world: World, body: dict[str, Any], status: int) -> None:
    assert http_error(world.stores.setIamPolicy(resource=world.store, body=body))[0] == status
    assert world.stores.getIamPolicy(resource=world.store).execute() == {"etag": "ACAB"}


def test_no_such_resource(resource: tuple[Any, str]) -> None:
    api, name = resource
    assert http_error(api.getIamPolicy(resource=f"{name}x"))[:2] == (404, "NOT_FOUND")
    assert http_error(api.setIamPolicy(resource=f"{name}x", body={"policy": {}}))[:2] == (404, "NOT_FOUND")
    assert http_error(api.testIamPermissions(resource=f"{name}x", body={}))[:2] == (404, "NOT_FOUND")
    assert http_error(api.getIamPolicy(resource=name, options_requestedPolicyVersion=7))[0] == 400


def test_a_policy_goes_with_its_resource(world: World) -> None:
    world.stores.setIamPolicy(resource=world.store, body={"policy": {"bindings": BINDINGS}}).execute()
    world.stores.delete(name=world.store).execute()
    world.stores.create(parent=world.dataset, dicomStoreId="s", body={}).execute()
    assert world.stores.getIamPolicy(resource=world.store).execute() == {"etag": "ACAB"}
