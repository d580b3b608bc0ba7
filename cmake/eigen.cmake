# Eigen comes from the system, or from the PyPI package cmeel-eigen, which installs its CMake files in
# a folder cmeel.prefix of site-packages that only Python knows.
find_package(Eigen3 3.4 CONFIG QUIET)
if(NOT TARGET Eigen3::Eigen)
  find_package(Python COMPONENTS Interpreter QUIET)
  if(Python_EXECUTABLE)
    execute_process(
      COMMAND "${Python_EXECUTABLE}" -c
        "import sys, pathlib; print(';'.join(str(p) for p in (pathlib.Path(q) / 'cmeel.prefix' for q in sys.path) if p.is_dir()))"
      OUTPUT_VARIABLE cmeel_prefixes OUTPUT_STRIP_TRAILING_WHITESPACE)
    list(APPEND CMAKE_PREFIX_PATH ${cmeel_prefixes})
    find_package(Eigen3 3.4 CONFIG QUIET)
  endif()
endif()
if(NOT TARGET Eigen3::Eigen)
  message(FATAL_ERROR "equiprop needs Eigen 3.4: install it from your system (libeigen3-dev), or "
                      "'pip install cmeel-eigen' into the Python that CMake finds.")
endif()
