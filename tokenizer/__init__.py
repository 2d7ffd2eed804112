"""Transaction -> TokenSequence and back, one modality per file, without torch."""
