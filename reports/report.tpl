<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ resources.title | e }}</title>
<style>
{{ resources.css }}
</style>
</head>
<body>
<main>
{%- if resources.up %}
<nav><a href="{{ resources.up }}">All reports</a></nav>
{%- endif %}
{%- if resources.origin %}
<p class="origin{{ '' if resources.origin == 'real feeds' else ' made-up' }}"><strong>{{ resources.origin[0] | upper }}{{ resources.origin[1:] | e }}</strong>: {{ resources.meaning | e }}.</p>
{%- endif %}
{%- if resources.failure %}
<header class="banner bad"><p class="kicker">{{ resources.title | e }}</p><p class="verdict"><span class="badge bad"><span aria-hidden="true">✗</span> BROKEN</span></p>
<h1>This report broke in step {{ resources.failure.step }} of {{ resources.failure.steps }}: {{ resources.failure.sentence | e }}</h1>
<div class="parts"><div class="part"><h2>What is missing</h2><p>Everything below this step. What stands above it was finished and is true.</p></div>
<div class="part"><h2>What to do</h2><p>{{ resources.failure.mend | e }}</p></div></div></header>
{%- endif %}
{%- for cell in nb.cells if 'papermill-error-cell-tag' not in cell.metadata.get('tags', []) %}
{%- if cell.cell_type == 'markdown' %}
{{ cell.source | markdown2html }}
{%- elif cell.cell_type == 'code' %}
{%- for output in cell.outputs %}
{%- if output.output_type == 'error' %}
<article class="finding bad"><h3><span class="badge bad"><span aria-hidden="true">✗</span> here it broke</span> {{ output.ename | e }}</h3><p>{{ output.evalue | strip_ansi | e }}</p>
<details><summary>the code and its trace</summary><pre>{{ cell.source | e }}</pre><pre>{{ output.traceback | join('\n') | strip_ansi | e }}</pre></details></article>
{%- elif output.output_type in ('display_data', 'execute_result') %}
{%- if 'text/html' in output.data %}
{{ output.data['text/html'] }}
{%- elif 'text/plain' in output.data %}
<pre>{{ output.data['text/plain'] | strip_ansi | e }}</pre>
{%- endif %}
{%- elif output.output_type == 'stream' and output.name == 'stdout' %}
<pre>{{ output.text | strip_ansi | e }}</pre>
{%- endif %}
{%- endfor %}
{%- endif %}
{%- endfor %}
<footer>{{ resources.footer | e }}</footer>
</main>
</body>
</html>
