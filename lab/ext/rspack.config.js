// Numbers in the order of the sources: those by hash depend on the folder in which it is built.
module.exports = { optimization: { moduleIds: 'natural', chunkIds: 'natural' } };
