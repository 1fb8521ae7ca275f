__version__ = "0.1.0"

def __getattr__(name): # `nbprops.Worker` and `nbprops.sql` without paying for them at import
    if name == "Worker":
        from nbprops.predict.worker import Worker
        return Worker
    if name == "sql":
        from nbprops.data.warehouse import sql
        return sql
    raise AttributeError(f"module 'nbprops' has no attribute '{name}'")
