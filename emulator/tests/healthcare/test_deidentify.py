"""``dicomStores.deidentify`` and ``datasets.deidentify``."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import numpy
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import RLELossless

from gcp_dicom_emulator.healthcare.names import is_uid
from tests.healthcare.conftest import World, encoded, http_error, instance, sample
from tests.healthcare.dicom_bytes import encapsulated
from tests.healthcare.images import gradient, image

BASIC = {"filterProfile": "ATTRIBUTE_CONFIDENTIALITY_BASIC_PROFILE"}


@pytest.fixture
def target(versioned: World) -> str:
    """The name of an empty store."""
    return str(versioned.stores.create(parent=versioned.dataset, dicomStoreId="target", body={}).execute()["name"])


def patient(uid: str = "1.2.3.4", study: str = "1.2", **elements: Any) -> FileDataset:
    """An instance that tells whom it is of, with a private element, an overlay and a reference."""
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.99"
    reference.PatientID = "MRN4711"
    dataset = instance(study, f"{study}.3", uid, PatientName="Doe^Jane", PatientID="MRN4711", StudyDate="20240131", **elements)
    dataset.Modality, dataset.FrameOfReferenceUID, dataset.StationName = "CT", "1.2.7", "CT1"
    dataset.ReferencedImageSequence = Sequence([reference])
    dataset.add_new(0x00091001, "LO", "secret")
    dataset.add_new(0x60004000, "LT", "a comment")
    return dataset


def deidentified(world: World, target: str, config: dict[str, Any] | None, **body: Any) -> dict[str, Any]:
    request = {"destinationStore": target, **({"config": config} if config is not None else {}), **body}
    return world.end(world.stores.deidentify(sourceStore=world.store, body=request).execute())


def stored(world: World, store: str) -> list[FileDataset]:
    pages = world.emulator.healthcare.instances.pages(store, None, 100)
    found = [(each, pydicom.dcmread(each.path)) for page in pages for each in page]
    for each, dataset in found:
        assert each.uids == (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    return [dataset for _, dataset in found]


def only(world: World, target: str, config: dict[str, Any] | None, **body: Any) -> FileDataset:
    """The one instance of a store, de-identified."""
    ended = deidentified(world, target, config, **body)
    assert ended["metadata"]["counter"] == {"success": "1"}, world.logs(ended)
    [dataset] = stored(world, target)
    return dataset


def cut_short() -> bytes:
    """An instance that ends within its pixels, which an import does not read."""
    dataset = image(gradient(16, 16))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.5"
    dataset.compress(RLELossless, generate_instance_uid=False)
    return encoded(dataset)[:-8]


def keywords(dataset: FileDataset) -> set[str]:
    return {element.keyword for element in dataset}


def test_the_operation(versioned: World, version: str, target: str) -> None:
    versioned.fill(patient())
    ended = deidentified(versioned, target, {"dicom": BASIC})
    kind = f"type.googleapis.com/google.cloud.healthcare.{version}.deidentify.DeidentifyDicomStoreSummary"
    assert ended["response"] == {"@type": kind}
    method = f"google.cloud.healthcare.{version}.deidentify.DeidentifyService.DeidentifyDicomStore"
    assert ended["metadata"]["apiMethodName"] == method
    assert ended["metadata"]["counter"] == {"success": "1"}
    assert stored(versioned, versioned.store)[0].PatientName == "Doe^Jane"


@pytest.mark.parametrize("config", [None, {}, {"dicom": {}}, {"dicom": {"filterProfile": "KEEP_ALL_PROFILE"}}])
def test_keeping_all_but_the_uids(versioned: World, target: str, config: dict[str, Any] | None) -> None:
    versioned.fill(patient())
    after, before = only(versioned, target, config), patient()
    uids = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    for keyword in uids:
        assert is_uid(after[keyword].value)
        assert after[keyword].value != before[keyword].value
        after[keyword].value = before[keyword].value
    reference = after.ReferencedImageSequence[0]
    assert reference.ReferencedSOPInstanceUID != "1.2.3.99"
    reference.ReferencedSOPInstanceUID = "1.2.3.99"
    assert Dataset(after) == Dataset(before)


@pytest.mark.parametrize("config", [{"dicom": {"filterProfile": "KEEP_ALL_PROFILE"}}, {"dicom": BASIC}])
def test_what_stands_before_the_data_set_tells_nothing_either(versioned: World, target: str, config: dict[str, Any]) -> None:
    before = patient()
    before.preamble = b"Jane Doe".ljust(128)
    before.file_meta.SourceApplicationEntityTitle = "JANES CT"
    before.file_meta.PrivateInformationCreatorUID, before.file_meta.PrivateInformation = "1.2.3", b"Jane"
    versioned.fill(before)
    after = only(versioned, target, config)
    assert after.preamble == bytes(128)
    if config["dicom"] == BASIC:
        assert not {"SourceApplicationEntityTitle", "PrivateInformation"} & {element.keyword for element in after.file_meta}


def test_keeping_the_uids_too(versioned: World, target: str) -> None:
    versioned.fill(patient())
    after = only(versioned, target, {"dicom": {"filterProfile": "KEEP_ALL_PROFILE", "skipIdRedaction": True}})
    assert Dataset(after) == Dataset(patient())


def test_a_list_of_what_to_keep(versioned: World, target: str) -> None:
    versioned.fill(patient())
    after = only(versioned, target, {"dicom": {"keepList": {"tags": ["PatientID", "00080060", "ReferencedImageSequence"]}}})
    required = {"SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"}
    assert keywords(after) == {"PatientID", "Modality", "ReferencedImageSequence", *required}
    assert after.PatientID == after.ReferencedImageSequence[0].PatientID == "MRN4711"
    assert after.file_meta.TransferSyntaxUID == patient().file_meta.TransferSyntaxUID


def test_a_list_of_what_to_remove(versioned: World, target: str) -> None:
    versioned.fill(patient())
    tags = ["PatientID", "00080060", "00091001", "SourceApplicationEntityTitle"]
    after = only(versioned, target, {"dicom": {"removeList": {"tags": tags}}})
    assert after.PatientName == "Doe^Jane"
    assert not {"PatientID", "Modality"} & keywords(after)
    assert 0x00091001 not in after
    assert "PatientID" not in after.ReferencedImageSequence[0]
    assert after.StudyInstanceUID


@pytest.mark.parametrize("tags", [[], ["PatientID"]])
def test_a_list_of_what_to_remove_has_overlays_on_it(versioned: World, target: str, tags: list[str]) -> None:
    before = patient()
    before.add_new(0x60023000, "OW", b"overlay!")
    before.ReferencedImageSequence[0].add_new(0x60003000, "OW", b"overlay!")
    versioned.fill(before)
    after = only(versioned, target, {"dicom": {"removeList": {"tags": tags}}})
    assert 0x60023000 not in after
    assert 0x60003000 not in after.ReferencedImageSequence[0]
    assert after[0x60004000].value == "a comment"


def test_the_minimal_profile_leaves_an_image(versioned: World, target: str) -> None:
    versioned.fill(sample("CT_small.dcm"))
    after = only(versioned, target, {"dicom": {"filterProfile": "MINIMAL_KEEP_LIST_PROFILE"}})
    before = pydicom.dcmread(BytesIO(sample("CT_small.dcm")))
    assert (after.pixel_array == before.pixel_array).all()
    assert not {"PatientID", "PatientName", "Modality", "StudyDate"} & keywords(after)
    assert not any(element.tag.is_private for element in after)


def test_the_basic_profile(versioned: World, target: str) -> None:
    versioned.fill(patient(AccessionNumber="77", InstitutionName="Hospital", PatientAge="033Y", ContentDate="20240131"))
    after = only(versioned, target, {"dicom": BASIC})
    assert after.Modality == "CT"
    assert not after.PatientName
    assert not after.AccessionNumber
    assert not after.StudyDate
    assert after.PatientID == "ANONYMIZED"
    assert after.ContentDate == "19000101"
    assert not {"PatientAge"} & keywords(after)
    assert "Hospital" not in str(after)
    assert "CT1" not in str(after)
    assert "MRN4711" not in str(after)
    assert not any(element.tag.is_private or element.tag.group == 0x6000 for element in after)
    assert is_uid(after.FrameOfReferenceUID)
    assert after.FrameOfReferenceUID != "1.2.7"
    assert after.PatientIdentityRemoved == "YES"


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "rtplan.dcm", "examples_ybr_color.dcm", "test-SR.dcm", "MR_small_bigendian.dcm"]
)
def test_the_basic_profile_on_real_files(versioned: World, target: str, name: str) -> None:
    versioned.fill(sample(name))
    after, before = only(versioned, target, {"dicom": BASIC}), pydicom.dcmread(BytesIO(sample(name)))
    assert after.SOPClassUID == before.SOPClassUID
    assert after.get("PixelData") == before.get("PixelData")
    for keyword in ("PatientName", "PatientID", "ReferringPhysicianName", "InstitutionName"):
        assert keyword not in before or not before[keyword].value or after.get(keyword) != before[keyword].value


def test_references_stay_whole(versioned: World, target: str) -> None:
    """Also between studies, and by the same UID everywhere, as long as it is one operation."""
    versioned.fill(patient("1.2.3.1"), patient("1.2.3.99"), patient("1.2.5", study="1.9"))
    for config in ({"dicom": BASIC}, {}):
        ended = deidentified(versioned, target, config)
        assert ended["metadata"]["counter"] == {"success": "3"}
    found = stored(versioned, target)
    assert len(found) == 6
    assert len({each.StudyInstanceUID for each in found}) == 4
    uids = {each.SOPInstanceUID for each in found}
    references = {each.ReferencedImageSequence[0].ReferencedSOPInstanceUID for each in found}
    assert len(references) == 2
    assert references < uids


@pytest.mark.slow
def test_many_instances_are_shared_with_helpers(world: World) -> None:
    """Who de-identifies an instance makes no difference."""
    world.stores.create(parent=world.dataset, dicomStoreId="target", body={}).execute()
    world.fill(*(patient(f"1.2.3.{number}") for number in range(1000, 2100)), cut_short())
    ended = deidentified(world, f"{world.dataset}/dicomStores/target", {"dicom": BASIC})
    assert ended["metadata"]["counter"] == {"success": "1100", "failure": "1"}
    found = stored(world, f"{world.dataset}/dicomStores/target")
    assert len({each.SOPInstanceUID for each in found}) == 1100
    assert len({(each.StudyInstanceUID, each.ReferencedImageSequence[0].ReferencedSOPInstanceUID) for each in found}) == 1


def test_a_filter(versioned: World, target: str) -> None:
    versioned.fill(patient("1.2.3.1"), patient("1.2.3.2"), patient("1.2.5", study="1.9"))
    versioned.put("filter.txt", b"/studies/1.9\n/studies/1.2/series/1.2.3/instances/1.2.3.2\n/studies/8\n")
    uri = versioned.uri("filter.txt")
    ended = deidentified(versioned, target, {}, filterConfig={"resourcePathsGcsUri": uri})
    assert ended["metadata"]["counter"] == {"success": "2"}
    assert len(stored(versioned, target)) == 2


def test_a_config_in_cloud_storage(versioned: World, target: str) -> None:
    versioned.fill(patient())
    versioned.put("config.json", json.dumps({"dicom": {"removeList": {"tags": ["PatientID"]}}}).encode())
    after = only(versioned, target, None, gcsConfigUri=versioned.uri("config.json"))
    assert "PatientID" not in after
    assert after.PatientName == "Doe^Jane"


@pytest.mark.parametrize(
    ("content", "code"), [(None, 5), (b"[]", 3), (b"{", 3), (b'{"dicom": {"filterProfile": "X"}}', 3), (b'{"text": {}}', 12)]
)
def test_bad_configs_in_cloud_storage(versioned: World, target: str, content: bytes | None, code: int) -> None:
    versioned.fill(patient())
    if content is not None:
        versioned.put("config.json", content)
    ended = deidentified(versioned, target, None, gcsConfigUri=versioned.uri("config.json"))
    assert ended["error"]["code"] == code
    assert stored(versioned, target) == []


@pytest.mark.parametrize("partial_failure", ["error", "response"])
def test_case_16_what_cannot_be_read_fails_alone(versioned: World, target: str, partial_failure: str) -> None:
    """The operation ends as imports and exports do; the store does not have what failed."""
    versioned.emulator.healthcare.partial_failure = partial_failure
    versioned.fill(patient(), cut_short())
    ended = deidentified(versioned, target, {"dicom": BASIC})
    assert ended["metadata"]["counter"] == {"success": "1", "failure": "1"}
    if partial_failure == "error":
        assert ended["error"]["code"] == 3
        assert ended["error"]["message"].startswith("invalid_argument: de-identifying one or more instances failed.")
    assert ("response" in ended) == (partial_failure == "response")
    [entry] = versioned.logs(ended)
    assert entry["resourceName"].startswith(f"{versioned.store}/dicomWeb/studies/")
    assert len(stored(versioned, target)) == 1


# What the Basic Profile does with sequences. Source: PS3.15, table E.1-1


def items(**elements: Any) -> Sequence:
    """A sequence of one item."""
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return Sequence([item])


def test_case_3_the_text_of_a_structured_report(versioned: World, target: str) -> None:
    name = items(ValueType="PNAME", PersonName="Doe^Jane", ConceptNameCodeSequence=items(CodeMeaning="Mrs Jane Doe"))
    content = items(ValueType="TEXT", TextValue="Mrs Jane Doe, tel 555-0199", ContentSequence=name)
    versioned.fill(patient(ContentSequence=content))
    after = only(versioned, target, {"dicom": BASIC})
    assert not any(secret in str(after) for secret in ("Jane", "555-", "Doe"))
    assert after.ContentSequence[0].TextValue == "ANONYMIZED"
    assert after.ContentSequence[0].ContentSequence[0].ConceptNameCodeSequence[0].CodeMeaning == "ANONYMIZED"


@pytest.mark.parametrize(
    ("keyword", "left"),
    [
        ("AcquisitionContextDescription", None),
        ("ChannelDerivationDescription", None),
        ("ChannelLabel", None),
        ("MultiplexGroupLabel", None),
        ("UnformattedTextValue", "ANONYMIZED"),
    ],
)
def test_case_23_rows_of_newer_editions(versioned: World, target: str, keyword: str, left: str | None) -> None:
    versioned.fill(patient(**{keyword: "Jane"}))
    assert only(versioned, target, {"dicom": BASIC}).get(keyword) == left


@pytest.mark.parametrize(
    "keyword",
    [
        "InstitutionCodeSequence",
        "OperatorIdentificationSequence",
        "ReferencedPerformedProcedureStepSequence",
        "FlowIdentifierSequence",
        "PersonIdentificationCodeSequence",
        "VerifyingObserverSequence",
        "ContentSequence",
        "GraphicAnnotationSequence",
    ],
)
def test_case_23_every_sequence_that_is_to_have_a_dummy(versioned: World, target: str, keyword: str) -> None:
    """Its items stay, with dummies of the same value representations, and without private elements."""
    inner = items(CodeMeaning="Jane", SpecificCharacterSet="ISO_IR 100", PersonIdentificationCodeSequence=items(CodeValue="Jane"))
    inner[0].add_new(0x00091001, "LO", "Jane")
    inner[0].ReferencedSOPClassUID, inner[0].ReferencedSOPInstanceUID, inner[0].NumericValue = (
        pydicom.uid.CTImageStorage,
        "1.2",
        "7",
    )
    versioned.fill(patient(**{keyword: inner}))
    after = only(versioned, target, {"dicom": BASIC})
    [item] = after[keyword].value
    assert "Jane" not in str(after)
    assert (item.CodeMeaning, item.NumericValue, item.ReferencedSOPClassUID) == ("ANONYMIZED", 0, pydicom.uid.CTImageStorage)
    assert is_uid(item.ReferencedSOPInstanceUID)
    assert item.ReferencedSOPInstanceUID != "1.2"
    assert item.PersonIdentificationCodeSequence[0].CodeValue == "ANONYMIZED"
    assert 0x00091001 not in item
    assert "SpecificCharacterSet" not in item


def test_case_2_behind_a_value_representation_that_cannot_be_read(versioned: World, target: str) -> None:
    """Two blanks occur in the wild; whoever takes what follows for the element's value passes on what is in it."""
    before = image(gradient(16, 16), PixelPaddingValue=0, RequestingPhysician="Doe^Jane")
    before.RequestAttributesSequence = items(AccessionNumber="4711")
    versioned.fill(encoded(before).replace(b"\x28\x00\x20\x01US", b"\x28\x00\x20\x01  "))
    after = only(versioned, target, {"dicom": BASIC})
    assert "RequestingPhysician" not in after
    assert "RequestAttributesSequence" not in after
    assert after.PixelPaddingValue == 0
    assert (after.pixel_array == before.pixel_array).all()


def test_case_1_what_ends_too_early_is_not_passed_on(versioned: World, target: str) -> None:
    versioned.fill(cut_short())
    ended = deidentified(versioned, target, {"dicom": BASIC})
    assert ended["metadata"]["counter"] == {"failure": "1"}
    assert "ends" in versioned.logs(ended)[0]["error"]["message"]
    assert stored(versioned, target) == []


def test_case_4_a_fragment_of_odd_length(versioned: World, target: str) -> None:
    before = image(gradient(16, 16))
    before.compress(RLELossless, generate_instance_uid=False)
    [frame] = generate_frames(before.PixelData, number_of_frames=1)
    data = encoded(before)
    elements = data[: data.index(b"\xe0\x7f\x10\x00")]
    odd = frame + bytes(1 + len(frame) % 2)
    versioned.fill(elements + encapsulated(b"", odd))
    after = only(versioned, target, {"dicom": BASIC})
    assert len(after.PixelData) % 2 == 0
    assert (after.pixel_array == before.pixel_array).all()


@pytest.mark.parametrize("syntax", [*(f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112)), "1.2.840.10008.1.2.8.1"])
def test_case_15_a_transfer_syntax_without_a_codec(versioned: World, target: str, syntax: str) -> None:
    """Only attributes change, so that nobody needs one."""
    before = image(gradient(16, 16))
    before.PixelData = encapsulate([b"what a codec makes"])
    before["PixelData"].is_undefined_length = True
    before.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    file = BytesIO()
    pydicom.dcmwrite(file, before, implicit_vr=False, little_endian=True, force_encoding=True)
    versioned.fill(file.getvalue())
    after = only(versioned, target, {"dicom": BASIC})
    assert after.file_meta.TransferSyntaxUID == syntax
    assert after.PixelData == before.PixelData


@pytest.mark.parametrize("config", [BASIC, {"filterProfile": "KEEP_ALL_PROFILE"}])
def test_an_overlay_in_the_words_of_the_pixels(versioned: World, target: str, config: dict[str, Any]) -> None:
    """The Basic Profile removes overlays, which once could be in bits that are not stored."""
    before = image(numpy.array([[0x1ABC, 0x0FFF], [0xF000, 0x0001]], "uint16"), BitsStored=12)
    for tag, value in ((0x60000010, 2), (0x60000011, 2), (0x60000100, 16), (0x60000102, 12)):
        before.add_new(tag, "US", value)
    versioned.fill(encoded(before))
    after = only(versioned, target, {"dicom": config})
    expected = [0x0ABC, 0x0FFF, 0x0000, 0x0001] if config == BASIC else [0x1ABC, 0x0FFF, 0xF000, 0x0001]
    assert numpy.frombuffer(after.PixelData, "<u2").tolist() == expected


def test_what_the_basic_profile_says_of_itself(versioned: World, target: str) -> None:
    versioned.fill(patient(DeidentificationMethod="by Jane", LongitudinalTemporalInformationModified="UNMODIFIED"))
    after = only(versioned, target, {"dicom": BASIC})
    assert after.PatientIdentityRemoved == "YES"
    assert after.DeidentificationMethod == "Basic Application Level Confidentiality Profile"
    assert after.LongitudinalTemporalInformationModified == "REMOVED"


def test_what_the_basic_profile_cannot_judge_is_not_passed_on(versioned: World, target: str) -> None:
    """An element that PS3.6 does not have; a sequence whose items are not to be found."""
    before = patient()
    before.add_new(0x00181FFE, "LO", "Jane")
    before.add(pydicom.DataElement(0x0040A168, "OB", b"Jane"))
    versioned.fill(before)
    after = only(versioned, target, {"dicom": BASIC})
    assert 0x00181FFE not in after
    assert 0x0040A168 not in after


def test_what_is_kept_is_not_decoded(versioned: World, target: str) -> None:
    """Values that are neither text nor numbers, or of a character set that nobody knows, come out as they went in."""
    before = patient(ImageComments="x", BodyPartExamined="x", SliceThickness="1.0", SpecificCharacterSet="ISO_IR 100")
    data = encoded(before).replace(b"ISO_IR 100", b"ISO_IR 999").replace(b"DS\x04\x001.0 ", b"DS\x04\x00\xff1_0")
    versioned.fill(data)
    ended = deidentified(versioned, target, {"dicom": {"filterProfile": "KEEP_ALL_PROFILE", "skipIdRedaction": True}})
    assert ended["metadata"]["counter"] == {"success": "1"}
    [found] = next(versioned.emulator.healthcare.instances.pages(target, None, 1))
    assert found.path.read_bytes() == data


# DicomTagConfig, which only v1beta1 has

KEEP_ALL = {"filterProfile": "KEEP_ALL_PROFILE"}


def item_bytes(*elements: bytes, end: bytes = b"") -> bytes:
    """A sequence's item, and what follows it, as bytes that a file does not say to be one."""
    content = b"".join(elements)
    return b"\xfe\xff\x00\xe0" + len(content).to_bytes(4, "little") + content + end


IMPLICIT_NAME = b"\x10\0\x10\0\x08\0\0\0Doe^Jane"
IMPLICIT_REFERENCE = b"\x08\0\x55\x11\x08\0\0\x001.2.3.99"
EXPLICIT_NAME = b"\x10\0\x10\0PN\x08\0Doe^Jane"


@pytest.mark.parametrize("vr", ["UN", "OB"])
@pytest.mark.parametrize("tag", [0x00091010, 0x00211010])
@pytest.mark.parametrize("content", [(IMPLICIT_NAME, IMPLICIT_REFERENCE), (item_bytes(IMPLICIT_NAME),), (EXPLICIT_NAME,)])
def test_a_sequence_that_the_file_has_as_bytes(
    versioned: World, target: str, tag: int, vr: str, content: tuple[bytes, ...]
) -> None:
    if content[0].startswith(b"\xfe"):
        content = (b"\x09\0\x11\x10" + len(content[0]).to_bytes(4, "little") + content[0],)
    before = instance("1.2", "1.2.3", "1.2.3.4", StationName="CT1")
    before.add_new(tag, vr, item_bytes(*content))
    versioned.fill(before)
    only(versioned, target, {"dicom": {"removeList": {"tags": ["PatientName"]}}})
    [made] = (each.path.read_bytes() for page in versioned.emulator.healthcare.instances.pages(target, None, 1) for each in page)
    assert b"Doe^Jane" not in made
    assert b"1.2.3.99" not in made
    assert b"CT1" in made


def test_what_begins_like_a_sequence_and_cannot_be_read_is_not_passed_on(versioned: World, target: str) -> None:
    before = instance("1.2", "1.2.3", "1.2.3.4")
    before.add_new(0x00091010, "UN", item_bytes(IMPLICIT_NAME, end=b"broken"))
    versioned.fill(before)
    ended = deidentified(versioned, target, {"dicom": KEEP_ALL})
    assert ended["metadata"]["counter"] == {"failure": "1"}
    assert "(0009,1010)" in str(versioned.logs(ended))
    assert only(versioned, target, {"dicom": BASIC}).get(0x00091010) is None


@pytest.mark.parametrize(
    "keyword", ["SOPInstanceUIDOfConcatenationSource", "MultiFrameSourceSOPInstanceUID", "ReferencedColorPaletteInstanceUID"]
)
@pytest.mark.parametrize("config", [KEEP_ALL, BASIC])
def test_every_element_that_names_an_instance_names_the_new_one(
    versioned: World, target: str, config: dict[str, Any], keyword: str
) -> None:
    versioned.fill(instance("1.2", "1.2.3", "1.2.3.4", **{keyword: "1.2.3.4"}))
    after = only(versioned, target, {"dicom": config})
    assert after[keyword].value == after.SOPInstanceUID != "1.2.3.4"


@pytest.fixture
def empty_beta(world: World, apis: dict[str, Any]) -> World:
    world.api = apis["v1beta1"]
    world.stores.create(parent=world.dataset, dicomStoreId="target", body={}).execute()
    return world


@pytest.fixture
def beta(empty_beta: World) -> World:
    empty_beta.fill(patient())
    return empty_beta


def test_the_default_of_tag_configs_is_the_basic_profile(beta: World) -> None:
    after = only(beta, f"{beta.dataset}/dicomStores/target", {"dicomTagConfig": {}})
    assert after.PatientID == "ANONYMIZED"
    assert after.StudyInstanceUID != "1.2"


def test_tag_actions(beta: World) -> None:
    actions = [
        {"queries": ["PatientID"], "resetTag": {}},
        {"queries": ["PN", "00080060"], "removeTag": {}},
        {"queries": ["00080060"], "deleteTag": {}},
        {"queries": ["DA"], "keepTag": {}},
        {"queries": ["FrameOfReferenceUID"], "regenUidTag": {}},
        {"queries": ["SQ"], "recurseTag": {}},
    ]
    config = {"profileType": "KEEP_ALL_PROFILE", "options": {"primaryIds": "KEEP"}, "actions": actions}
    after = only(beta, f"{beta.dataset}/dicomStores/target", {"dicomTagConfig": config})
    assert after.StudyInstanceUID == "1.2"
    assert after.PatientID == after.ReferencedImageSequence[0].PatientID == "ANONYMIZED"
    assert "PatientName" in after
    assert not after.PatientName
    assert "Modality" not in after
    assert after.StudyDate == "20240131"
    assert after.FrameOfReferenceUID != "1.2.7"


def test_resetting_all_code_strings_leaves_the_character_set(beta: World) -> None:
    beta.stores.create(parent=beta.dataset, dicomStoreId="other", body={}).execute()
    beta.store = f"{beta.dataset}/dicomStores/other"
    beta.fill(patient(StudyID="Dö", SpecificCharacterSet="ISO_IR 192"))
    config = {"profileType": "KEEP_ALL_PROFILE", "actions": [{"queries": ["CS"], "resetTag": {}}]}
    after = only(beta, f"{beta.dataset}/dicomStores/target", {"dicomTagConfig": config})
    assert (after.Modality, after.SpecificCharacterSet, after.StudyID) == ("ANONYMIZED", "ISO_IR 192", "Dö")


@pytest.mark.parametrize("action", ["deleteTag", "removeTag", "resetTag", "regenUidTag"])
def test_no_action_makes_a_file_lie_about_its_transfer_syntax(empty_beta: World, action: str) -> None:
    before = image(gradient(16, 16))
    before.compress(RLELossless, generate_instance_uid=False)
    empty_beta.fill(before)
    actions = [{"queries": ["TransferSyntaxUID"], action: {}}]
    config = {"dicomTagConfig": {"profileType": "KEEP_ALL_PROFILE", "actions": actions}}
    after = only(empty_beta, f"{empty_beta.dataset}/dicomStores/target", config)
    assert after.file_meta.TransferSyntaxUID == RLELossless
    assert (after.pixel_array == before.pixel_array).all()


@pytest.mark.parametrize("action", ["deleteTag", "removeTag", "resetTag"])
def test_text_that_needs_the_character_set_that_is_to_go(empty_beta: World, action: str) -> None:
    before = instance("1.2", "1.2.3", "1.2.3.4", SpecificCharacterSet="ISO_IR 192", PatientName="Doe^Jane")
    empty_beta.fill(before)
    actions = [{"queries": ["SpecificCharacterSet"], action: {}}]
    config = {"dicomTagConfig": {"profileType": "KEEP_ALL_PROFILE", "actions": actions}}
    after = only(empty_beta, f"{empty_beta.dataset}/dicomStores/target", config)
    assert (after.PatientName, after.get("SpecificCharacterSet") or "") == ("Doe^Jane", "")
    before.PatientComments, before.SOPInstanceUID = "王^小东", "1.2.3.5"
    before.file_meta.MediaStorageSOPInstanceUID = "1.2.3.5"
    empty_beta.fill(before)
    ended = deidentified(empty_beta, f"{empty_beta.dataset}/dicomStores/target", config)
    assert ended["metadata"]["counter"] == {"success": "1", "failure": "1"}
    assert "(0010,4000)" in str(empty_beta.logs(ended))


@pytest.mark.parametrize(
    ("config", "status"),
    [
        ({"dicomTagConfig": {}, "dicom": {}}, 400),
        ({"dicomTagConfig": {"profileType": "NONE"}}, 400),
        ({"dicomTagConfig": {"options": {"primaryIds": "DROP"}}}, 400),
        ({"dicomTagConfig": {"actions": [{"queries": ["PatientID"]}]}}, 400),
        ({"dicomTagConfig": {"actions": [{"queries": ["PatientIdent"], "keepTag": {}}]}}, 400),
        ({"dicomTagConfig": {"actions": [{"queries": [], "deleteTag": {}}]}}, 400),
        ({"dicomTagConfig": {"actions": [{"deleteTag": {}}]}}, 400),
        ({"dicomTagConfig": {"actions": [{"queries": ["XX"], "deleteTag": {}}]}}, 400),
        ({"dicomTagConfig": {"actions": [{"queries": [""], "deleteTag": {}}]}}, 400),
        ({"dicomTagConfig": {"actions": [{"queries": ["PatientID"], "cleanTextTag": {}}]}}, 501),
        ({"dicomTagConfig": {"options": {"cleanDescriptors": {}}}}, 501),
        ({"dicomTagConfig": {"options": {"cleanImage": {"textRedactionMode": "REDACT_ALL_TEXT"}}}}, 501),
        ({"dicomTagConfig": {"profileType": "DEIDENTIFY_TAG_CONTENTS"}}, 501),
    ],
)
def test_bad_tag_configs(beta: World, config: dict[str, Any], status: int) -> None:
    body = {"destinationStore": f"{beta.dataset}/dicomStores/target", "config": config}
    assert http_error(beta.stores.deidentify(sourceStore=beta.store, body=body))[0] == status


# Requests that are refused


@pytest.mark.parametrize(
    ("config", "status"),
    [
        ({"dicom": {"removeList": {"tags": [""]}}}, 400),
        ({"dicom": {"keepList": {"tags": ["PatientID", ""]}}}, 400),
        *(({"dicom": {"removeList": {"tags": [tag]}}}, 400) for tag in ("StudyInstanceUID", "7FE00010", "BitsAllocated")),
        ({"dicom": {"keepList": {"tags": []}, "removeList": {"tags": []}}}, 400),
        ({"dicom": {"keepList": {"tags": []}, "filterProfile": "KEEP_ALL_PROFILE"}}, 400),
        ({"dicom": {"keepList": {"tags": ["NoSuchKeyword"]}}}, 400),
        ({"dicom": {"removeList": {"tags": ["(0010,0010)"]}}}, 400),
        ({"dicom": {"filterProfile": "SOME_PROFILE"}}, 400),
        ({"unknown": {}}, 400),
        ({"dicom": {"filterProfile": "DEIDENTIFY_TAG_CONTENTS"}}, 501),
        ({"image": {"textRedactionMode": "REDACT_ALL_TEXT"}}, 501),
        ({"image": {"customRegexes": [{}]}}, 501),
        ({"text": {}}, 501),
        ({"fhir": {}}, 501),
    ],
)
def test_bad_configs(versioned: World, target: str, config: dict[str, Any], status: int) -> None:
    body = {"destinationStore": target, "config": config}
    assert http_error(versioned.stores.deidentify(sourceStore=versioned.store, body=body))[0] == status


def test_bad_destinations(world: World, apis: dict[str, Any]) -> None:
    for destination, status in (
        ("", 400),
        ("target", 400),
        (world.store, 400),
        (world.store.replace("us-central1", "eu"), 400),
        (f"{world.dataset}/dicomStores/none", 404),
    ):
        request = world.stores.deidentify(sourceStore=world.store, body={"destinationStore": destination})
        assert http_error(request)[0] == status
    for destination, status in (("", 400), (world.dataset.replace("us-central1", "eu"), 400), (world.dataset, 409)):
        request = world.datasets.deidentify(sourceDataset=world.dataset, body={"destinationDataset": destination})
        assert http_error(request)[0] == status
    further = {"config": {}, "gcsConfigUri": "gs://b/o"}
    body = {"destinationStore": f"{world.dataset}/dicomStores/t", **further}
    assert http_error(world.stores.deidentify(sourceStore=world.store, body=body))[0] == 400


def test_no_text_redaction_is_asked_for(versioned: World, target: str) -> None:
    versioned.fill(patient())
    config = {"image": {"textRedactionMode": "REDACT_NO_TEXT"}, "useRegionalDataProcessing": True}
    assert only(versioned, target, config).PatientName == "Doe^Jane"


# Datasets


def test_a_dataset(versioned: World, version: str) -> None:
    second = f"{versioned.dataset}/dicomStores/second"
    versioned.stores.create(parent=versioned.dataset, dicomStoreId="second", body={"labels": {"a": "b"}}).execute()
    versioned.fill(patient("1.2.3.99"))
    first, versioned.store = versioned.store, second
    versioned.fill(patient("1.2.3.1"))
    versioned.store = first
    copy = f"{versioned.dataset}-copy"
    body = {"destinationDataset": copy, "config": {"dicom": BASIC}}
    ended = versioned.end(versioned.datasets.deidentify(sourceDataset=versioned.dataset, body=body).execute())
    assert ended["name"].startswith(f"{versioned.dataset}/operations/")
    kind = f"type.googleapis.com/google.cloud.healthcare.{version}.deidentify.DeidentifySummary"
    assert ended["response"] == {"@type": kind}
    assert ended["metadata"]["apiMethodName"].endswith(".dataset.DatasetService.DeidentifyDataset")
    assert ended["metadata"]["counter"] == {"success": "2"}
    stores = versioned.stores.list(parent=copy).execute()["dicomStores"]
    assert stores == [{"name": f"{copy}/dicomStores/s"}, {"name": f"{copy}/dicomStores/second", "labels": {"a": "b"}}]
    [one], [other] = (stored(versioned, store["name"]) for store in stores)
    assert one.StudyInstanceUID == other.StudyInstanceUID != "1.2"
    assert other.ReferencedImageSequence[0].ReferencedSOPInstanceUID == one.SOPInstanceUID
