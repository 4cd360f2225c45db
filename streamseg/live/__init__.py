"""The live tool: what is around the pipeline while a camera runs, from its page to the files that it follows."""
