# Eigen comes from the system, or from the PyPI package cmeel-eigen, which installs its CMake files in
# a folder cmeel.prefix of site-packages that only Python knows. Read by equiprop's build and by users of the
# installed library; visible in the whole of their project, since equiprop's target refers to it.
set(equiprop_eigen_advice "Eigen 3.4: install it from your system (libeigen3-dev), or \
'pip install cmeel-eigen' into the Python that CMake finds.")
if(NOT TARGET Eigen3::Eigen)
  find_package(Eigen3 3.4 CONFIG QUIET)
  if(NOT TARGET Eigen3::Eigen)
    find_package(Python COMPONENTS Interpreter QUIET)
    if(Python_EXECUTABLE)
      execute_process(
        COMMAND "${Python_EXECUTABLE}" -c
          "import sys, pathlib; print(';'.join(str(p) for p in (pathlib.Path(q) / 'cmeel.prefix' for q in sys.path) if p.is_dir()))"
        OUTPUT_VARIABLE equiprop_cmeel_prefixes OUTPUT_STRIP_TRAILING_WHITESPACE)
      find_package(Eigen3 3.4 CONFIG QUIET PATHS ${equiprop_cmeel_prefixes})
    endif()
  endif()
  if(TARGET Eigen3::Eigen)
    set_property(TARGET Eigen3::Eigen PROPERTY IMPORTED_GLOBAL TRUE)
  endif()
endif()
