"""`forebay up DIR --demo`: a rising and falling load on a running machine, a spot node taken away, and what became of it all."""
