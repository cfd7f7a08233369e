//! Stages and what they wait for, in layers from top to bottom: a stage stands below all it needs. Edges
//! over several layers run through places that are kept free for them; places are sorted by the middle of
//! their neighbours (the barycentre method of Sugiyama, Tagawa and Toda 1981).

use std::fmt::Write as _;

use super::canvas::{Anchor, Canvas, escape, fitted, number};

/// A graph of stages.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// The stages.
    pub nodes: Vec<GraphNode>,
    /// From what is needed to what needs it. One that would close a circle is not drawn.
    pub edges: Vec<(usize, usize)>,
}

/// A stage.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphNode {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// What became of it, in a word of the record, or of a live run.
    pub state: String,
    /// How long it took, how many there are.
    pub note: String,
    /// Where a click leads.
    pub link: Option<String>,
}

const WIDE: f64 = 158.0;
const TALL: f64 = 58.0;
const THIN: f64 = 14.0;
const GAP: f64 = 22.0;
const BETWEEN: f64 = 44.0;

/// A stage, or a bend of an edge, in its layer.
struct LayerPlace {
    node: Option<usize>,
    x: f64,
    above: Vec<usize>,
    below: Vec<usize>,
}

impl LayerPlace {
    fn width(&self) -> f64 {
        if self.node.is_some() { WIDE } else { THIN }
    }
}

/// The class of a state's colour.
fn class(state: &str) -> &'static str {
    match state {
        "failed" => "failed",
        "ran" | "cached" | "done" => "done",
        _ => "waiting",
    }
}

#[expect(clippy::cast_precision_loss, reason = "few stages")]
pub(super) fn draw(graph: &Graph) -> Canvas {
    let layer_of = layers(graph);
    let (mut places, mut layers, chains) = places(graph, &layer_of);
    arrange(&mut places, &mut layers);
    let least = places.iter().map(|it| it.x - it.width() / 2.0).fold(f64::INFINITY, f64::min);
    let most = places.iter().map(|it| it.x + it.width() / 2.0).fold(0.0, f64::max);
    let least = if least.is_finite() { least } else { 0.0 };
    let mut canvas = Canvas::new(
        (most - least + 16.0).max(WIDE),
        layers.len() as f64 * (TALL + BETWEEN) - BETWEEN + 18.0,
    );
    let mut level = vec![0; places.len()];
    for (at, layer) in layers.iter().enumerate() {
        for place in layer {
            level[*place] = at;
        }
    }
    let x = |place: usize| places[place].x - least + 8.0;
    let top = |place: usize| 6.0 + level[place] as f64 * (TALL + BETWEEN);
    for chain in &chains {
        let mut d = String::new();
        for (at, two) in chain.windows(2).enumerate() {
            let (from, to) = ((x(two[0]), top(two[0]) + TALL), (x(two[1]), top(two[1])));
            if at == 0 {
                let _ = write!(d, "M{} {}", number(from.0), number(from.1));
            }
            let middle = f64::midpoint(from.1, to.1);
            let _ = write!(
                d,
                "C{} {} {} {} {} {}",
                number(from.0),
                number(middle),
                number(to.0),
                number(middle),
                number(to.0),
                number(to.1)
            );
            if places[two[1]].node.is_none() {
                let _ = write!(d, "V{}", number(to.1 + TALL));
            }
        }
        canvas.raw(&format!("<path d=\"{d}\" class=\"edge\"/>"));
        if let Some(end) = chain.last() {
            let (x, y) = (x(*end), top(*end));
            canvas.area(&[(x, y), (x - 4.0, y - 7.0), (x + 4.0, y - 7.0)], "tip");
        }
    }
    for (at, place) in places.iter().enumerate() {
        let Some(node) = place.node else { continue };
        node_at(&mut canvas, &graph.nodes[node], (x(at) - WIDE / 2.0, top(at)));
    }
    canvas
}

fn node_at(canvas: &mut Canvas, node: &GraphNode, at: (f64, f64)) {
    if let Some(link) = &node.link {
        let said = format!("{}: {}, {}, {}", node.name, node.kind, node.state, node.note);
        canvas.raw(&format!("<a href=\"{}\" aria-label=\"{}\">", escape(link), escape(&said)));
    }
    let class = class(&node.state);
    canvas.rect(at, (WIDE, TALL), &format!("rx=\"7\" class=\"node {class}\""));
    let left = at.0 + 11.0;
    let name = fitted(&node.name, 13.5, WIDE - 20.0);
    canvas.text(left, at.1 + 18.0, Anchor::Start, "b", &name);
    canvas.text(left, at.1 + 34.0, Anchor::Start, "q", &fitted(&node.kind, 11.0, WIDE - 20.0));
    canvas.text(left, at.1 + 50.0, Anchor::Start, &format!("word {class}"), &node.state);
    let right = at.0 + WIDE - 11.0;
    canvas.text(right, at.1 + 50.0, Anchor::End, "q", &fitted(&node.note, 11.0, 96.0));
    if node.link.is_some() {
        canvas.raw("</a>");
    }
}

/// The longest way to each node; edges of a circle do not count.
fn layers(graph: &Graph) -> Vec<usize> {
    let count = graph.nodes.len();
    let mut layer = vec![0; count];
    for _ in 0..count {
        let mut moved = false;
        for (from, to) in drawn(graph) {
            if layer[to] <= layer[from] && layer[from] + 1 < count {
                layer[to] = layer[from] + 1;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    layer
}

/// The edges between stages that are there.
fn drawn(graph: &Graph) -> impl Iterator<Item = (usize, usize)> + '_ {
    let count = graph.nodes.len();
    graph.edges.iter().copied().filter(move |(from, to)| *from < count && *to < count)
}

type Layers = Vec<Vec<usize>>;

/// Places for the nodes and the bends of edges; the places that each edge runs through.
fn places(graph: &Graph, layer_of: &[usize]) -> (Vec<LayerPlace>, Layers, Vec<Vec<usize>>) {
    let depth = layer_of.iter().max().map_or(0, |it| it + 1);
    let mut layers = vec![Vec::new(); depth];
    let mut places: Vec<LayerPlace> = Vec::new();
    let empty = |node| LayerPlace { node, x: 0.0, above: Vec::new(), below: Vec::new() };
    for (node, layer) in layer_of.iter().enumerate() {
        layers[*layer].push(node);
        places.push(empty(Some(node)));
    }
    let mut chains = Vec::new();
    for (from, to) in drawn(graph) {
        let mut chain = vec![from];
        for layer in &mut layers[..layer_of[to]][(layer_of[from] + 1).min(layer_of[to])..] {
            layer.push(places.len());
            chain.push(places.len());
            places.push(empty(None));
        }
        if layer_of[from] >= layer_of[to] {
            continue;
        }
        chain.push(to);
        for two in chain.windows(2) {
            places[two[0]].below.push(two[1]);
            places[two[1]].above.push(two[0]);
        }
        chains.push(chain);
    }
    (places, layers, chains)
}

/// Sorts each layer by its neighbours, then moves places below and above them as far as there is room.
#[expect(clippy::cast_precision_loss, reason = "few stages")]
fn arrange(places: &mut [LayerPlace], layers: &mut Layers) {
    let pack = |places: &mut [LayerPlace], layer: &[usize]| {
        let mut x = 0.0;
        for place in layer {
            let width = places[*place].width();
            places[*place].x = x + width / 2.0;
            x += width + GAP;
        }
        for place in layer {
            places[*place].x -= (x - GAP) / 2.0;
        }
    };
    let middle = |places: &[LayerPlace], place: usize, down: bool| {
        let near = if down { &places[place].above } else { &places[place].below };
        if near.is_empty() {
            return places[place].x;
        }
        near.iter().map(|it| places[*it].x).sum::<f64>() / near.len() as f64
    };
    for layer in layers.iter() {
        pack(places, layer);
    }
    for sweep in 0..6 {
        let down = sweep % 2 == 0;
        let count = layers.len();
        for step in 0..count {
            let at = if down { step } else { count - 1 - step };
            let wish: Vec<f64> = (0..places.len()).map(|it| middle(places, it, down)).collect();
            layers[at].sort_by(|a, b| wish[*a].total_cmp(&wish[*b]).then(a.cmp(b)));
            pack(places, &layers[at]);
        }
    }
    for sweep in 0..8 {
        let down = sweep % 2 == 1;
        for layer in layers.iter() {
            let wish: Vec<f64> = layer.iter().map(|it| middle(places, *it, down)).collect();
            settle(places, layer, &wish);
        }
    }
}

/// Puts a layer as near to `wish` as its order and widths allow: groups that push each other move as one.
fn settle(places: &mut [LayerPlace], layer: &[usize], wish: &[f64]) {
    // Each block: its wished left offset (mean), number of places, first place.
    let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
    let mut offsets = Vec::new();
    let mut offset = 0.0;
    for (at, place) in layer.iter().enumerate() {
        let width = places[*place].width();
        if at > 0 {
            offset += width / 2.0 + GAP;
        }
        offsets.push(offset);
        offset += width / 2.0;
        let mut block = (wish[at] - offsets[at], 1.0, at);
        while let Some(last) = blocks.last()
            && last.0 > block.0
        {
            let whole = last.1 + block.1;
            block = ((last.0 * last.1 + block.0 * block.1) / whole, whole, last.2);
            blocks.pop();
        }
        blocks.push(block);
    }
    for (number, block) in blocks.iter().enumerate() {
        let end = blocks.get(number + 1).map_or(layer.len(), |it| it.2);
        for at in block.2..end {
            places[layer[at]].x = block.0 + offsets[at];
        }
    }
}
