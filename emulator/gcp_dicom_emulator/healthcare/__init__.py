"""The Healthcare API, its DICOM part."""
