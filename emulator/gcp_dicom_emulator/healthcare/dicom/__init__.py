"""DICOM files: reading them, their rows and their pixels."""
