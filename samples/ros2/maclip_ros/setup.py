from setuptools import setup

NAME = "maclip_ros"

setup(
    name=NAME,
    version="0.2.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", ["launch/actions.launch.py"]),
        (f"share/{NAME}/config", ["config/actions.yaml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="The maclip authors",
    maintainer_email="maclip@example.org",
    description="A lifecycle node that recognises actions shown to a camera and learns new ones",
    license="MIT",
    entry_points={"console_scripts": [f"actions = {NAME}.node:main"]},
)
