"""The nouns and the engine of BlockScan; imports none of tokenizer, pipelines, dashboard."""
