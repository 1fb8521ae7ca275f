"Packaging: everything is read from settings.ini, the one place where versions and requirements stand."
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

config = ConfigParser(delimiters=["="], interpolation=None)
config.read(Path(__file__).with_name("settings.ini"), encoding="utf-8")
cfg = config["DEFAULT"]
lines = lambda key: [r.strip() for r in cfg.get(key, "").splitlines() if r.strip()]
extras = {k.removeprefix("extra_"): lines(k) for k in cfg if k.startswith("extra_")}
extras["all"] = sorted({r for group in extras.values() for r in group})

setup(
    name=cfg["lib_name"], version=cfg["version"], description=cfg["description"],
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8") if Path(__file__).with_name("README.md").exists() else "",
    long_description_content_type="text/markdown", license="Apache-2.0", author=cfg["author"],
    python_requires=f">={cfg['min_python']}", packages=find_packages(include=["nbprops", "nbprops.*"]),
    package_data={"nbprops": ["**/*.csv", "**/*.sql", "**/*.json", "reports/*.ipynb", "reports/*.css", "reports/*.tpl"]},
    install_requires=lines("requirements"), extras_require=extras,
    entry_points={"console_scripts": ["nbprops=nbprops.cli:main"], "nbdev": ["nbprops=nbprops._modidx:d"]},
)
