"""What travels on the topics: models, codec and catalogue. Imports pydantic, msgspec and orjson only."""
