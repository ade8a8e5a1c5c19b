"""What travels on the topics: models, codec and topic catalogue. Imports only pydantic, msgspec and orjson."""
