#pragma once
/// Symbol visibility. All code is compiled with hidden visibility (cmake/symbols.cmake). EQUIPROP_EXPORT marks what
/// programs that link the library may use: functions that are defined in src/, classes with such functions, and
/// exceptions.

#if defined(__GNUC__) && !defined(_WIN32)
#define EQUIPROP_EXPORT __attribute__((visibility("default")))
#else
#define EQUIPROP_EXPORT
#endif
