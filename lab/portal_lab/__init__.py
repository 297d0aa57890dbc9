"""The notebooks' side of the Bodo Cloud Platform: magics for kernels, and what Jupyter's server and JupyterLab need."""

__version__ = "1.0.0"


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "portal_lab.server"}]
