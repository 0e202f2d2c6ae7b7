"""Bar charts as SVG, readable on light and dark pages: no library, nothing to be installed to look at them."""

import html
import math

# One colour a broker, told apart also by those who see few colours.
COLOURS = {"VigilMQ": "#0072b2", "mosquitto": "#d55e00", "nats-server": "#009e73", "rabbitmq": "#e69f00", "aedes": "#cc79a7", "floor": "#888888"}
WIDTH, LABELS, RIGHT = 900, 330, 70
BAR, GAP, GROUP_GAP = 11, 2, 12


def number(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def bars(path, title, names, series, mark=None):
    """Groups of bars, one a name, on a logarithmic scale. `series`: broker: a value for each name, None where there is none.
    `mark`: where a line is drawn."""
    series = {broker: row for broker, row in series.items() if any(row)}
    values = [value for row in series.values() for value in row if value]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    plot = WIDTH - LABELS - RIGHT

    def x(value):
        return LABELS + plot * (math.log10(max(value, 10**low)) - low) / (high - low)

    top = 74
    parts, y = [], top
    for index, name in enumerate(names):
        rows = [(broker, row[index]) for broker, row in series.items() if row[index]]
        height = len(rows) * (BAR + GAP)
        parts.append(f'<text class="t" x="{LABELS - 10}" y="{y + height / 2 + 4:.1f}" text-anchor="end">{html.escape(name)}</text>')
        for broker, value in rows:
            width = max(1.5, x(value) - LABELS)
            parts.append(f'<rect x="{LABELS}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{COLOURS[broker]}"/>')
            parts.append(f'<text class="v" x="{LABELS + width + 4:.1f}" y="{y + BAR - 2}">{number(value)}</text>')
            y += BAR + GAP
        y += GROUP_GAP
    bottom = y
    grid = []
    for power in range(low, high + 1):
        at = x(10**power)
        grid.append(f'<line class="g" x1="{at:.1f}" y1="{top - 6}" x2="{at:.1f}" y2="{bottom}"/>')
        grid.append(f'<text class="v" x="{at:.1f}" y="{bottom + 14}" text-anchor="middle">{10**power:g}</text>')
    if mark:
        grid.append(f'<line class="m" x1="{x(mark):.1f}" y1="{top - 6}" x2="{x(mark):.1f}" y2="{bottom}"/>')
    legend, at = [], LABELS
    for broker in series:
        legend.append(f'<rect x="{at}" y="42" width="12" height="12" fill="{COLOURS[broker]}"/>'
                      f'<text class="t" x="{at + 17}" y="52">{html.escape(broker)}</text>')
        at += 34 + 8 * len(broker)
    height = bottom + 28
    path.write_text(f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" role="img">
<title>{html.escape(title)}</title>
<style>
text {{ font-family: system-ui, sans-serif; fill: #222 }} .h {{ font-size: 16px; font-weight: 600 }} .t {{ font-size: 12px }} .v {{ font-size: 10px }}
.b {{ fill: #fff }} .g {{ stroke: #ccc; stroke-width: 1 }} .m {{ stroke: #d55e00; stroke-width: 1.5; stroke-dasharray: 4 3 }}
@media (prefers-color-scheme: dark) {{ text {{ fill: #ddd }} .b {{ fill: #161b22 }} .g {{ stroke: #444 }} }}
</style>
<rect class="b" width="{WIDTH}" height="{height:.0f}"/>
<text class="h" x="20" y="26">{html.escape(title)}</text>
{''.join(legend)}
{''.join(grid)}
{''.join(parts)}
</svg>
""")
