#pragma once
/// What the library shows to programs that link it. Everything is compiled hidden (cmake/symbols.cmake); a function
/// that is defined in src/, a class that has such functions, and an exception say so by EQUIPROP_EXPORT.

#if defined(__GNUC__) && !defined(_WIN32)
#define EQUIPROP_EXPORT __attribute__((visibility("default")))
#else
#define EQUIPROP_EXPORT
#endif
