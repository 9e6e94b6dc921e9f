"""One module a task: quantities, starts, success, the expert reward and a scripted expert."""
