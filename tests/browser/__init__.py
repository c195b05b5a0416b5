"""The panel as people meet it: real JupyterLab and Notebook 7, real kernels, a real browser, and an emulator."""
