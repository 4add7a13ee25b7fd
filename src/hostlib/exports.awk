# Makes the linker's version script from interposed.def: what we intercept, and nothing else.
BEGIN { print "{ global:" }
/^INTERPOSED\(/ { split($0, part, ", *"); print "  " part[2] ";" }
END { print "local: *; };" }
