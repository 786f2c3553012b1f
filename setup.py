"""Build one extension module for every folder src/<primitive>/ that holds a _<primitive>.pyx."""

import os
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent.resolve()
COMPILE = ["-O3", "-std=gnu17", "-fopenmp", "-fwrapv", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
COMPILE += ["-Wno-psabi", "-Wno-maybe-uninitialized", "-g0"]  # of registers that unrolled loops fill
MACROS = [("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"), ("NPY_TARGET_VERSION", "NPY_1_25_API_VERSION")]
LINK = ["-fopenmp", "-Wl,-z,relro,-z,now,-z,noexecstack"]
if os.environ.get("CYCONV_SANITIZE"):
    # Slower code with every load, store and integer operation checked; see CONTRIBUTING.md.
    SANITIZE = [f"-fsanitize={os.environ['CYCONV_SANITIZE']}", "-fno-omit-frame-pointer", "-g1", "-O1", "-DSANITIZED"]
    COMPILE, LINK = COMPILE + SANITIZE, LINK + SANITIZE


def extension(pyx: Path) -> Extension:
    folder = pyx.parent
    sources = [pyx, *sorted(p for p in folder.glob("*.c") if p.stem != pyx.stem)]
    return Extension(
        f"cyconv.{pyx.stem}",
        sources=[str(p.relative_to(ROOT)) for p in sources],
        depends=[
            str(p.relative_to(ROOT))
            for name in ("common", "gemm", "winograd", folder.name)
            for p in [*(ROOT / "src" / name).glob("*.h"), *folder.glob("*.pxi")]
        ],
        libraries=["m"],
        include_dirs=["src/common", str(folder.relative_to(ROOT)), numpy.get_include()],
        define_macros=MACROS,
        extra_compile_args=COMPILE,
        extra_link_args=LINK,
    )


# CYCONV_ONLY=gemm,common builds only those folders, for a short wait between a change and its test.
ONLY = os.environ.get("CYCONV_ONLY", "").split(",")
PYX = [p for p in sorted((ROOT / "src").glob("*/_*.pyx")) if ONLY == [""] or p.parent.name in ONLY]

os.chdir(ROOT)
# The kernels are written in GCC's vector extensions and target pragmas, and some Pythons were themselves built by clang,
# or to be found by an rpath that would be linked into our modules.
os.environ.setdefault("CC", "gcc")
os.environ.setdefault("LDSHARED", f"{os.environ['CC']} -shared")
setup(
    ext_modules=cythonize(
        [extension(pyx) for pyx in PYX],
        build_dir="build/cython",
        include_path=["src/common"],
        compiler_directives={
            "language_level": "3",
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "autotestdict": False,
            "auto_pickle": False,
        },
    ),
    options={"build_ext": {"parallel": os.cpu_count()}},
)
