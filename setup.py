"""The build: a wheel holds the configs as ``cvae/conf``; a source tree has them beside the package."""

from pathlib import Path
from shutil import copytree

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Copies ``conf/`` into a wheel."""

    def run(self) -> None:
        """Copy the modules, then the configs."""
        super().run()
        if not self.editable_mode:
            copytree("conf", Path(self.build_lib, "cvae", "conf"), dirs_exist_ok=True)


# with its folder named, an editable installation puts it on the path; otherwise it looks for cvae behind the current
# folder, where a clone of that name hides it
setup(packages=find_packages(include=["cvae*"]), package_dir={"": "."}, cmdclass={"build_py": BuildWithConfigs})
