"""Where labelled images come from: one file per format, all behind one protocol."""
