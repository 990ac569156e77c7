"""The HTML of the report: two templates, whose {{fields}} gpukm/color/report.py fills in."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{{title}}</title>
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #8882 }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1400px; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin: 2.5rem 0 .2rem; overflow-wrap: anywhere }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem } p { margin: .2rem 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .2rem 1rem .2rem 0; border-bottom: 1px solid var(--line); font-weight: normal }
td { text-align: right } .list td:first-child { text-align: left; overflow-wrap: anywhere }
thead th { font-weight: 600 }
.both { max-width: 100%; min-width: min(100%, 20rem) }
.stage { position: relative; user-select: none; touch-action: pan-y; cursor: ew-resize;
  background: repeating-conic-gradient(#bbb 0 25%, #eee 0 50%) 0 0 / 20px 20px }
.stage img { display: block; width: 100%; image-rendering: pixelated }
.stage .after { position: absolute; inset: 0; clip-path: inset(0 0 0 var(--at)) }
.stage .edge { position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px; margin-left: -1px; background: #fff;
  box-shadow: 0 0 3px #000 }
.stage .edge::after { content: "\\2194"; position: absolute; top: 50%; left: 50%; translate: -50% -50%;
  background: #fff; color: #000; border-radius: 1rem; width: 2rem; line-height: 2rem; text-align: center }
.stage span { position: absolute; top: .5rem; background: #000a; color: #fff; padding: 0 .5rem; border-radius: .3rem }
.stage .left { left: .5rem } .stage .right { right: .5rem }
input[type=range] { width: 100%; margin: .3rem 0 0 }
.swatches { display: flex; flex-wrap: wrap; gap: 2px }
.swatches i { flex: 1 0 5.4rem; font-style: normal; padding: 1.2rem .4rem .2rem; font-size: 12px; line-height: 1.3 }
.swatches b, .swatches span { display: block; font-weight: normal }
.heat { max-width: 100%; min-width: min(100%, 20rem); image-rendering: pixelated }
.scale { height: 12px; max-width: 30rem; background: linear-gradient(to right, {{scale}}) }
.ticks { display: flex; justify-content: space-between; max-width: 30rem; font-size: 13px }
.columns { display: flex; flex-wrap: wrap; gap: 0 3rem } .columns > div { flex: 1 1 24rem; min-width: 0 }
</style>
</head>
<body>
{{heading}}
{{failed}}
{{note}}
{{table}}
{{pictures}}
<script>
for (const stage of document.querySelectorAll(".stage")) {
  const range = stage.nextElementSibling;
  const set = value => { range.value = value; stage.style.setProperty("--at", range.value + "%"); };
  const drag = event => {
    const box = stage.getBoundingClientRect();
    set(100 * (event.clientX - box.left) / box.width);
  };
  range.addEventListener("input", () => set(range.value));
  stage.addEventListener("pointerdown", event => { stage.setPointerCapture(event.pointerId); drag(event); });
  stage.addEventListener("pointermove", event => { if (event.buttons) drag(event); });
  set(50);
}
</script>
</body>
</html>
"""

PICTURE = """<section>
<h2>{{name}}</h2>
<p>{{size}}</p>
<div class="both" style="width:{{width}}px">
<div class="stage" style="--at:50%">
<img class="before" src="{{before}}" alt="before" draggable="false">
<img class="after" src="{{after}}" alt="after" draggable="false">
<div class="edge"></div><span class="left">before</span><span class="right">{{count}}</span>
</div>
<input type="range" min="0" max="100" step="0.1" value="50" aria-label="percent of the image before that is seen">
</div>
<h3>Palette</h3>
<div class="swatches">{{swatches}}</div>
<div class="columns">
<div>
<h3>Error in CIEDE2000</h3>
<img class="heat" src="{{heat}}" alt="map of the error">
<div class="scale"></div>
<div class="ticks"><span>0</span><span>2.5</span><span>5</span><span>7.5</span><span>10 and more</span></div>
<p>A difference of about 1 can just be seen.</p>
</div>
<div>
<h3>Figures</h3>
<table>{{figures}}</table>
</div>
</div>
</section>
"""
