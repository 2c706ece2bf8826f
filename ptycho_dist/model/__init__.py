"""Network and physics composed: from counts to object patches, canvases and a misfit."""
