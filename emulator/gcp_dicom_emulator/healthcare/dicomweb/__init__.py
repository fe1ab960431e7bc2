"""DICOMweb (PS3.18) on DICOM stores."""
