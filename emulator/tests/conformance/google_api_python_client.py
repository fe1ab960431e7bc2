"""google-api-python-client: the Healthcare API, in either version, and what came out of it by the other two APIs."""

from __future__ import annotations

import io
import json
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError
from googleapiclient.http import BatchHttpRequest, MediaIoBaseDownload

from tests.conformance.checks import CT, CT_UIDS, MR, PROJECT, equal, new_id, raises, until_done

LOCATION = f"projects/{PROJECT}/locations/us-central1"


class Client:
    """The clients of the three APIs, and what checks do often.

    :param url: where the emulator is.
    :param version: of the Healthcare API.
    """

    def __init__(self, url: str, version: str) -> None:
        def connect(api: str, api_version: str, path: str = "") -> Any:
            return build(api, api_version, credentials=AnonymousCredentials(), client_options={"api_endpoint": url + path})

        self.url = url
        self.version = version
        self.locations = connect("healthcare", version).projects().locations()
        self.datasets = self.locations.datasets()
        self.stores = self.datasets.dicomStores()
        self.operations = self.datasets.operations()
        # The paths of the other two APIs leave out how theirs begin: the endpoint has to say it.
        self.storage = connect("storage", "v1", "/storage/v1/")
        self.bigquery = connect("bigquery", "v2", "/bigquery/v2/")
        # The only one that can upload: google-api-python-client does not send uploads to the endpoint that it is given.
        self.uploads = storage.Client(PROJECT, AnonymousCredentials())

    def end(self, operation: dict[str, Any]) -> dict[str, Any]:
        return until_done(self.operations.get(name=operation["name"]).execute)

    def new_dataset(self) -> str:
        dataset_id = new_id("d")
        created = self.end(self.datasets.create(parent=LOCATION, datasetId=dataset_id, body={}).execute())
        equal(created["response"]["name"], f"{LOCATION}/datasets/{dataset_id}")
        return str(created["response"]["name"])

    def new_store(self) -> str:
        return str(self.stores.create(parent=self.new_dataset(), dicomStoreId="s", body={}).execute()["name"])

    def new_bucket(self, **objects: bytes) -> str:
        bucket = new_id("bucket-")
        self.storage.buckets().insert(project=PROJECT, body={"name": bucket}).execute()
        for name, data in objects.items():
            self.uploads.bucket(bucket).blob(name).upload_from_string(data)
        return bucket

    def filled_store(self) -> str:
        store, bucket = self.new_store(), self.new_bucket(ct=CT, mr=MR)
        ended = self.end(self.stores.import_(name=store, body={"gcsSource": {"uri": f"gs://{bucket}/*"}}).execute())
        equal(ended["metadata"]["counter"], {"success": "2"})
        return store

    def objects(self, bucket: str) -> list[bytes]:
        found = self.storage.objects().list(bucket=bucket).execute().get("items", [])
        return [self.storage.objects().get_media(bucket=bucket, object=item["name"]).execute() for item in found]

    def instance_count(self, store: str) -> int:
        return int(self.stores.getDICOMStoreMetrics(name=store).execute()["instanceCount"])


def connect(url: str, version: str) -> Client:
    return Client(url, version)


def error(request: Any) -> dict[str, Any]:
    """Execute a request that must fail; return what its envelope holds."""
    with raises(HttpError) as caught:
        request.execute()
    found: dict[str, Any] = json.loads(caught.exception.content)["error"]
    equal(found["code"], caught.exception.status_code)
    return found


def check_locations(client: Client) -> None:
    equal(client.locations.get(name=LOCATION).execute()["locationId"], "us-central1")
    found = client.locations.list(name=f"projects/{PROJECT}").execute()["locations"]
    equal(LOCATION in [location["name"] for location in found], True)


def check_datasets(client: Client) -> None:
    name = client.new_dataset()
    client.datasets.patch(name=name, updateMask="timeZone", body={"timeZone": "Europe/Vienna"}).execute()
    equal(client.datasets.get(name=name).execute(), {"name": name, "timeZone": "Europe/Vienna"})
    equal(client.datasets.delete(name=name).execute(), {})
    equal(error(client.datasets.get(name=name))["status"], "NOT_FOUND")


def check_stores(client: Client) -> None:
    dataset = client.new_dataset()
    store = client.stores.create(parent=dataset, dicomStoreId="s", body={"labels": {"site": "a"}}).execute()
    equal(store, {"name": f"{dataset}/dicomStores/s", "labels": {"site": "a"}})
    patched = client.stores.patch(name=store["name"], updateMask="labels", body={"labels": {"site": "b"}}).execute()
    equal(client.stores.get(name=store["name"]).execute(), patched)
    equal(patched["labels"], {"site": "b"})
    equal(client.stores.list(parent=dataset, filter="labels.site=a").execute(), {})
    equal(client.stores.list(parent=dataset, filter="labels.site=b").execute(), {"dicomStores": [patched]})
    equal(client.stores.delete(name=store["name"]).execute(), {})
    equal(client.stores.list(parent=dataset).execute(), {})


def check_paging(client: Client) -> None:
    dataset = client.new_dataset()
    names = [client.stores.create(parent=dataset, dicomStoreId=f"s{n}", body={}).execute()["name"] for n in range(5)]
    pages, request = [], client.stores.list(parent=dataset, pageSize=2)
    while request is not None:
        pages.append(answer := request.execute())
        request = client.stores.list_next(request, answer)
    equal([len(page["dicomStores"]) for page in pages], [2, 2, 1])
    equal([store["name"] for page in pages for store in page["dicomStores"]], names)


def check_import(client: Client) -> None:
    store, bucket = client.new_store(), client.new_bucket(ct=CT, mr=MR, text=b"no DICOM")
    started = client.stores.import_(name=store, body={"gcsSource": {"uri": f"gs://{bucket}/*"}}).execute()
    ended = client.end(started)
    equal(ended["metadata"]["counter"], {"success": "2", "failure": "1"})
    equal(ended["metadata"]["apiMethodName"], f"google.cloud.healthcare.{client.version}.dicom.DicomService.ImportDicomData")
    equal(ended["error"]["code"], 3)
    metrics = client.stores.getDICOMStoreMetrics(name=store).execute()
    equal((metrics["studyCount"], metrics["seriesCount"], metrics["instanceCount"]), ("2", "2", "2"))


def check_export_to_cloud_storage(client: Client) -> None:
    store, bucket = client.filled_store(), client.new_bucket()
    body = {"gcsDestination": {"uriPrefix": f"gs://{bucket}/out/"}}
    ended = client.end(client.stores.export(name=store, body=body).execute())
    equal(ended["response"]["@type"].rpartition(".")[2], "ExportDicomDataResponse")
    equal(sorted(client.objects(bucket)), sorted([CT, MR]))


def check_filtered_export(client: Client) -> None:
    store, bucket = client.filled_store(), client.new_bucket()
    lines = client.new_bucket(filter=f"/studies/{CT_UIDS[0]}\n".encode())
    body = {
        "gcsDestination": {"uriPrefix": f"gs://{bucket}/out"},
        "filterConfig": {"resourcePathsGcsUri": f"gs://{lines}/filter"},
    }
    client.end(client.stores.export(name=store, body=body).execute())
    equal(client.objects(bucket), [CT])


def check_export_to_bigquery(client: Client) -> None:
    store, dataset = client.filled_store(), new_id("tables_")
    reference = {"datasetReference": {"projectId": PROJECT, "datasetId": dataset}}
    client.bigquery.datasets().insert(projectId=PROJECT, body=reference).execute()
    table = f"{PROJECT}.{dataset}.metadata"
    ended = client.end(client.stores.export(name=store, body={"bigqueryDestination": {"tableUri": f"bq://{table}"}}).execute())
    equal(ended["metadata"]["counter"], {"success": "2"})
    query = f"SELECT Modality, SOPInstanceUID = '{CT_UIDS[2]}' FROM `{table}` ORDER BY Modality"
    found = client.bigquery.jobs().query(projectId=PROJECT, body={"query": query, "useLegacySql": False}).execute()
    equal([[cell["v"] for cell in row["f"]] for row in found["rows"]], [["CT", "true"], ["MR", "false"]])


def check_operations(client: Client) -> None:
    store = client.filled_store()
    dataset = store.partition("/dicomStores/")[0]
    names = []
    request = client.operations.list(name=dataset, pageSize=1)
    while request is not None:
        answer = request.execute()
        names += [operation["name"] for operation in answer.get("operations", [])]
        request = client.operations.list_next(request, answer)
    equal(len(names), 2)  # the dataset's creation, the import
    equal(client.operations.cancel(name=names[0], body={}).execute(), {})
    equal(client.operations.get(name=names[0]).execute()["metadata"]["counter"], {"success": "2"})


def check_iam(client: Client) -> None:
    for resources, name in ((client.stores, client.new_store()), (client.datasets, client.new_dataset())):
        policy = resources.getIamPolicy(resource=name).execute()
        policy["bindings"] = [{"role": "roles/healthcare.dicomViewer", "members": ["user:jane@example.com"]}]
        resources.setIamPolicy(resource=name, body={"policy": policy}).execute()
        equal(resources.getIamPolicy(resource=name).execute()["bindings"], policy["bindings"])
        permissions = {"permissions": ["healthcare.datasets.get"]}
        equal(resources.testIamPermissions(resource=name, body=permissions).execute(), permissions)


def check_deidentify(client: Client) -> None:
    source, target, bucket = client.filled_store(), client.new_store(), client.new_bucket()
    config = {"dicom": {"filterProfile": "ATTRIBUTE_CONFIDENTIALITY_BASIC_PROFILE"}}
    body = {"destinationStore": target, "config": config}
    ended = client.end(client.stores.deidentify(sourceStore=source, body=body).execute())
    equal(ended["metadata"]["counter"], {"success": "2"})
    export = {"gcsDestination": {"uriPrefix": f"gs://{bucket}/out"}}
    client.end(client.stores.export(name=target, body=export).execute())
    found = client.objects(bucket)
    equal(len(found), 2)
    equal([b"CompressedSamples" in data for data in (CT, MR, *found)], [True, True, False, False])  # the patients' names


def check_blob_storage_settings(client: Client) -> None:
    store = client.filled_store()
    study = f"{store}/dicomWeb/studies/{CT_UIDS[0]}"
    body = {"blobStorageSettings": {"blobStorageClass": "NEARLINE"}}
    studies = client.stores.dicomWeb().studies()
    client.end(studies.setBlobStorageSettings(resource=study, body=body).execute())
    instance = f"{study}/series/{CT_UIDS[1]}/instances/{CT_UIDS[2]}"
    info = studies.series().instances().getStorageInfo(resource=instance).execute()
    equal(info["blobStorageInfo"]["storageClass"], "NEARLINE")
    equal(studies.getStudyMetrics(study=study).execute()["instanceCount"], "1")


def check_delete_study(client: Client) -> None:
    store = client.filled_store()
    client.end(client.stores.studies().delete(parent=store, dicomWebPath=f"studies/{CT_UIDS[0]}").execute())
    equal(client.instance_count(store), 1)


def check_fields(client: Client) -> None:
    bucket = client.new_bucket(ct=CT, mr=MR)
    listed = client.storage.objects().list(bucket=bucket, maxResults=1, fields="items(name,size)").execute()
    equal(listed, {"items": [{"name": "ct", "size": str(len(CT))}]})
    equal(error(client.storage.objects().list(bucket=bucket, fields="itemz"))["code"], 400)
    store = client.new_store()
    equal(client.stores.getDICOMStoreMetrics(name=store, fields="instanceCount").execute(), {"instanceCount": "0"})


def check_batch(client: Client) -> None:
    store = client.new_store()
    dataset = store.partition("/dicomStores/")[0]
    found: dict[str, Any] = {}
    # A batch that the service makes would go to Google, whatever the endpoint.
    batch = BatchHttpRequest(lambda key, answer, error: found.update({key: error or answer}), f"{client.url}/batch")
    batch.add(client.stores.get(name=store), request_id="there")
    batch.add(client.stores.get(name=f"{dataset}/dicomStores/none"), request_id="missing")
    batch.add(client.stores.create(parent=dataset, dicomStoreId="t", body={"labels": {"site": "a"}}), request_id="new")
    batch.execute()
    equal(found["there"], {"name": store})
    equal(found["missing"].status_code, 404)
    equal(client.stores.get(name=f"{dataset}/dicomStores/t").execute(), found["new"])


def check_errors(client: Client) -> None:
    store = client.new_store()
    dataset = store.partition("/dicomStores/")[0]
    equal(error(client.stores.create(parent=dataset, dicomStoreId="s", body={}))["status"], "ALREADY_EXISTS")
    equal(error(client.stores.get(name=f"{dataset}/dicomStores/none"))["status"], "NOT_FOUND")
    equal(error(client.stores.import_(name=store, body={"gcsSource": {"uri": "no URI"}}))["status"], "INVALID_ARGUMENT")
    equal(error(client.stores.export(name=store, body={"unknown": 1}))["code"], 400)
    equal(error(client.datasets.fhirStores().list(parent=dataset))["code"], 501)


def check_download_in_pieces(client: Client) -> None:
    bucket = client.new_bucket(large=CT * 20)
    found = io.BytesIO()
    download = MediaIoBaseDownload(found, client.storage.objects().get_media(bucket=bucket, object="large"), chunksize=256 * 1024)
    while not download.next_chunk()[1]:
        pass
    equal(found.getvalue(), CT * 20)
