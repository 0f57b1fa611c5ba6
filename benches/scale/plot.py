"""The plot of benches/scale/run: small charts as one SVG, written by hand."""
import math

WIDTH, HEIGHT = 250, 170  # of one chart
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 34, 34  # around its axes
COLOURS = ["#1f6f8b", "#c8553d"]
# With fewer, what the server takes once outweighs the bindings.
BINDINGS_MIN = 50000
# With fewer, a registration's time and CPU time are mostly chance.
NEW_MIN = 10000
GRID, TEXT, BACK = "#d0d0d0", "#333333", "#ffffff"
# A title, and the lines of a chart.
CHARTS = [
    ("registrations a second", [("new_per_second", "new"), ("refresh_per_second", "refresh")]),
    ("CPU us each", [("new_cpu_us", "new"), ("refresh_cpu_us", "refresh")]),
    ("latency at 2,000/s, us", [("latency_p50_us", "p50"), ("latency_p99_us", "p99")]),
    ("resident bytes a binding", [("bytes_per_binding", "bytes")]),
]


def page(by_aors, by_contacts, contacts_aors):
    """Charts by addresses in the first row, by contacts in the second."""
    rows = [("addresses, one contact each", by_aors),
            (f"contacts of each of {contacts_aors:,} addresses", by_contacts)]
    width, height = len(CHARTS) * WIDTH, len(rows) * HEIGHT
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
             f'font-family="sans-serif" font-size="10" fill="{TEXT}">',
             f'<rect width="{width}" height="{height}" fill="{BACK}"/>']
    for row, (axis, results) in enumerate(rows):
        for column, (title, lines) in enumerate(CHARTS):
            parts.append(f'<g transform="translate({column * WIDTH} {row * HEIGHT})">')
            parts += chart(title, axis, lines, results)
            parts.append("</g>")
    return "\n".join(parts + ["</svg>"]) + "\n"


def chart(title, axis, lines, results):
    if lines[0][0] == "bytes_per_binding":
        results = {size: result for size, result in results.items() if result["bindings"] >= BINDINGS_MIN} or results
    sizes = sorted(results)
    shown = [results[size][name] for size in sizes for name, _ in lines if is_sound(name, results[size])]
    top = ceiling(max(shown, default=1))
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(size):
        # Both go up in steps that multiply.
        span = math.log(sizes[-1] / sizes[0]) or 1
        return LEFT + inner_width * math.log(size / sizes[0]) / span

    def y(value):
        return TOP + inner_height * (1 - value / top)

    parts = [label(LEFT, 14, title, "start", "bold")]
    for step in range(5):
        value = top * step / 4
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="{GRID}"/>')
        parts.append(label(LEFT - 4, y(value) + 3, short(value), "end"))
    for size in sizes:
        parts.append(label(x(size), HEIGHT - BOTTOM + 13, short(size), "middle"))
    parts.append(label(LEFT + inner_width / 2, HEIGHT - 8, axis, "middle"))
    for number, (name, legend) in enumerate(lines):
        colour = COLOURS[number]
        points = [(x(size), y(results[size][name])) for size in sizes if is_sound(name, results[size])]
        path = " ".join(f"{at:.1f},{height:.1f}" for at, height in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        parts += [f'<circle cx="{at:.1f}" cy="{height:.1f}" r="2.4" fill="{colour}"/>' for at, height in points]
        parts.append(label(LEFT + 50 * number, 27, legend, "start", "bold", colour))
    return parts


def is_sound(name, result):
    """Whether there were enough operations for the steps of 10 ms in which CPU time is told."""
    return not name.startswith("new_") or result["new_operations"] >= NEW_MIN


def label(x, y, text, anchor, weight="normal", colour=TEXT):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">{text}</text>'


def ceiling(value):
    """The next number that is 1, 2, 4, 5 or 8 times a power of ten."""
    power = 10 ** math.floor(math.log10(max(value, 1)))
    return next(step * power for step in (1, 2, 4, 5, 8, 10) if value <= step * power)


def short(value):
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"
