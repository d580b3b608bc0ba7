# Eigen comes from the system, or from the PyPI package cmeel-eigen, which installs its CMake files in a folder
# cmeel.prefix of site-packages that only Python knows. The build includes this file, and so does the installed
# package; both look at TARGET Eigen3::Eigen afterwards.
set(EQUIPROP_NEEDS_EIGEN
    "equiprop needs Eigen 3.4: install it from your system (libeigen3-dev), or 'pip install cmeel-eigen' into \
the Python that CMake finds (-DPython_EXECUTABLE=... names another).")

# A function, for what find_package(Python) sets is its caller's.
function(equiprop_find_eigen_of_python)
  find_package(Python COMPONENTS Interpreter QUIET)
  if(Python_EXECUTABLE)
    execute_process(
      COMMAND "${Python_EXECUTABLE}" -c
        "import sys, pathlib; print(';'.join(str(p) for p in (pathlib.Path(q) / 'cmeel.prefix' for q in sys.path) if p.is_dir()))"
      OUTPUT_VARIABLE prefixes OUTPUT_STRIP_TRAILING_WHITESPACE)
    find_package(Eigen3 3.4 CONFIG QUIET PATHS ${prefixes})
  endif()
endfunction()

find_package(Eigen3 3.4 CONFIG QUIET)
if(NOT TARGET Eigen3::Eigen)
  equiprop_find_eigen_of_python()
endif()
