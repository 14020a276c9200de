"""`runway demo`: the whole stack on one machine, with the real flights of 2013. Needs the `demo` extra."""
