"""The live tool: what is around the pipeline while a camera runs.

`run` puts everything together; `watch` follows files that are saved. The page in the browser: `sink` opens it, `server`
runs it on a thread, `gate` lets only its user in, `api` answers requests, `feed` hands out frames as JPEG or by
`webrtc`, `uploads` and `backgrounds` keep what can be chosen, `limited` decodes what others sent.
"""
