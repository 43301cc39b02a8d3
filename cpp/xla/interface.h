// The C interface of XLA's foreign functions, as far as it is used: version 0.1, which all later versions 0.x contain.
// Structures grow at their end only. The tests compare their layout with the header of an installed jaxlib.
// https://github.com/openxla/xla/blob/main/xla/ffi/api/c_api.h
#pragma once

#include <cstddef>
#include <cstdint>

namespace roialign::xla {

constexpr int major_version = 0, minor_version = 1;

enum class DataType : int {
  boolean = 1,
  int32 = 4,
  int64 = 5,
  uint32 = 8,
  uint64 = 9,
  float16 = 10,
  float32 = 11,
  float64 = 12,
  bfloat16 = 16,
};

enum class ErrorCode : int { invalid_argument = 3, resource_exhausted = 8, unimplemented = 12, internal = 13 };
enum class AttributeType : int { array = 1, dictionary = 2, scalar = 3, text = 4 };
enum class Stage : int { execute = 3 };

struct Extension {
  static constexpr int metadata = 1;  // a type
  size_t struct_size;
  int type;
  Extension* next;
};

struct Version {
  size_t struct_size;
  Extension* extensions;
  int major, minor;
};

struct Error;

struct ErrorArguments {
  size_t struct_size;
  Extension* extensions;
  const char* message;
  ErrorCode code;
};

struct Api {
  size_t struct_size;
  Extension* extensions;
  Version version;
  const void* internal;
  Error* (*create_error)(ErrorArguments*);
};

/// An array in row-major order.
struct Buffer {
  size_t struct_size;
  Extension* extensions;
  DataType type;
  void* data;
  int64_t rank;
  int64_t* sizes;
};

/// The arguments or the results of a call.
struct Buffers {
  size_t struct_size;
  Extension* extensions;
  int64_t count;
  int* kinds;
  Buffer** buffers;
};

struct Text {
  const char* data;
  size_t size;
};

struct Scalar {
  DataType type;
  void* value;
};

struct Array {
  DataType type;
  size_t size;
  void* data;
};

struct Attributes {
  size_t struct_size;
  Extension* extensions;
  int64_t count;
  AttributeType* types;
  Text** names;
  void** values;
};

struct CallFrame {
  size_t struct_size;
  Extension* extensions;
  const Api* api;
  void* context;
  Stage stage;
  Buffers arguments;
  Buffers results;
  Attributes attributes;
};

struct Metadata {
  size_t struct_size;
  Version version;
  uint32_t traits;
};

struct MetadataExtension {
  Extension base;
  Metadata* metadata;
};

using Handler = Error*(CallFrame*);

}  // namespace roialign::xla
