import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { DocumentRegistry } from '@jupyterlab/docregistry';
import { INotebookModel, NotebookPanel } from '@jupyterlab/notebook';
import { IDisposable } from '@lumino/disposable';

import { NotebookToolbar } from './toolbar';

class Toolbars implements DocumentRegistry.IWidgetExtension<NotebookPanel, INotebookModel> {
  createNew(panel: NotebookPanel): IDisposable {
    return new NotebookToolbar(panel);
  }
}

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'portal-lab:toolbar',
  description: 'Cluster, cell type and catalog in the toolbar of notebooks.',
  autoStart: true,
  activate: (app: JupyterFrontEnd) => {
    app.docRegistry.addWidgetExtension('Notebook', new Toolbars());
  }
};

export default plugin;
