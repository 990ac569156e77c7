"""Colour quantization: the best palette for an image, for many images, for a quality asked for.

An image is counted once, exactly (`Histogram`); palettes are fitted to its different colours by exact weighted k-means
in a colour space of your choice (`Histogram.fit`), and pixels are mapped by a table (`apply`). `quantize` does all of it.

    import gpukm.color as gc
    q = gc.quantize("photo.png", colors=64)
    q.palette, q.indices, q.error.de_p95
    h = gc.Histogram().add(frame1) + gc.Histogram().add(frame2)
    palette = h.fit(256, keep=["#ff0000"])
    gc.apply("photo.png", palette, dither="fs")
    gc.quantize("photo.png", target_de=1.5)  # the smallest palette that meets it

Importing this package needs NumPy only; files and PIL images need the extra `image`.
"""
