"""Chat models and what wraps them.

`openai` (any OpenAI-compatible server), `local` (a model folder or a GGUF file), `manual` (a person),
`replay` (recorded answers), all behind `embodied.core.chat.ChatModel`; `record` and `budget` wrap any of
them; `extract` takes the code out of an answer; `embed` compares sentences.
"""
