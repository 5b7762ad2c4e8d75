"""Other people's ONNX models: looked at as hostile, searched like our own with fidelity to fp32 in place of a task's score, and bundled.

`run.quantize` is the verb. Everything that parses or runs a model happens in a child process under limits (`guard`, `child`), in two turns:
`look` decides whether the file is taken at all, `work` prepares the graph, searches and leaves what `pack` puts into a bundle.
"""
