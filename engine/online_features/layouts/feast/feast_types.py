"""Feast's value types, named as Feast prints them; numbers are those of its ``Value.proto``."""

from __future__ import annotations

from enum import StrEnum


class FeastType(StrEnum):
    """A type of a feature or join key in Feast, scalar or list."""

    BYTES = "Bytes"
    STRING = "String"
    INT32 = "Int32"
    INT64 = "Int64"
    FLOAT64 = "Float64"
    FLOAT32 = "Float32"
    BOOL = "Bool"
    UNIX_TIMESTAMP = "UnixTimestamp"
    PDF_BYTES = "PdfBytes"
    IMAGE_BYTES = "ImageBytes"
    JSON = "Json"
    UUID = "Uuid"
    TIME_UUID = "TimeUuid"
    DECIMAL = "Decimal"
    BYTES_LIST = "Array(Bytes)"
    STRING_LIST = "Array(String)"
    INT32_LIST = "Array(Int32)"
    INT64_LIST = "Array(Int64)"
    FLOAT64_LIST = "Array(Float64)"
    FLOAT32_LIST = "Array(Float32)"
    BOOL_LIST = "Array(Bool)"
    UNIX_TIMESTAMP_LIST = "Array(UnixTimestamp)"
    JSON_LIST = "Array(Json)"
    UUID_LIST = "Array(Uuid)"
    TIME_UUID_LIST = "Array(TimeUuid)"
    DECIMAL_LIST = "Array(Decimal)"

    @property
    def is_list(self) -> bool:
        """Whether values are lists."""
        return self.value.startswith("Array(")

    @property
    def element(self) -> FeastType:
        """The type of a list's elements; of a scalar, the type itself."""
        return FeastType(self.value.removeprefix("Array(").removesuffix(")"))


INTEGERS = (FeastType.INT32, FeastType.INT64)

# Number of each type's field in message Value.
FIELD_NUMBER = {
    FeastType.BYTES: 1, FeastType.STRING: 2, FeastType.INT32: 3, FeastType.INT64: 4, FeastType.FLOAT64: 5,
    FeastType.FLOAT32: 6, FeastType.BOOL: 7, FeastType.UNIX_TIMESTAMP: 8, FeastType.PDF_BYTES: 1,
    FeastType.IMAGE_BYTES: 1, FeastType.BYTES_LIST: 11, FeastType.STRING_LIST: 12, FeastType.INT32_LIST: 13,
    FeastType.INT64_LIST: 14, FeastType.FLOAT64_LIST: 15, FeastType.FLOAT32_LIST: 16, FeastType.BOOL_LIST: 17,
    FeastType.UNIX_TIMESTAMP_LIST: 18, FeastType.JSON: 32, FeastType.JSON_LIST: 33, FeastType.UUID: 36,
    FeastType.TIME_UUID: 37, FeastType.UUID_LIST: 38, FeastType.TIME_UUID_LIST: 39, FeastType.DECIMAL: 44,
    FeastType.DECIMAL_LIST: 45,
}  # fmt: skip

# Number of each type of a join key in enum ValueType.
KEY_NUMBER = {
    FeastType.BYTES: 1, FeastType.STRING: 2, FeastType.INT32: 3, FeastType.INT64: 4, FeastType.UNIX_TIMESTAMP: 8,
}  # fmt: skip

# Feast stores NumPy's NaT for a timestamp that is NULL.
NO_TIME = -(2**63)
