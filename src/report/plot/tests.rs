use super::*;

fn series(points: &[(f64, f64)]) -> Series {
    let point =
        |it: &(f64, f64)| LinePoint { x: it.0, y: it.1, band: Some((it.1 - 0.1, it.1 + 0.1)) };
    Series { color: 0, dash: 0, points: points.iter().map(point).collect() }
}

fn lines(name: &str) -> Chart {
    Chart::Lines(LineChart {
        x: "epoch".into(),
        scale: Scale::Whole,
        y: "loss".into(),
        series: vec![series(&[(1.0, 0.9), (2.0, 0.5), (3.0, 0.4)])],
        faint: false,
        joined: true,
        keys: vec![Key { name: name.into(), color: Some(0), dash: 0 }],
    })
}

fn node(name: &str) -> GraphNode {
    GraphNode {
        name: name.into(),
        kind: "normalize".into(),
        state: "ran".into(),
        note: "0.3 s".into(),
        link: Some(format!("#stage-{name}")),
    }
}

/// One element a line, for snapshots that people can read.
fn marks(chart: &Chart) -> String {
    draw(chart).inline("id", "Title", "About").replace("><", ">\n<")
}

#[test]
fn lines_with_a_band() {
    insta::assert_snapshot!(marks(&lines("train")));
}

#[test]
fn a_graph_in_layers() {
    let nodes = ["data", "source", "target", "score"].map(node).to_vec();
    let edges = vec![(0, 1), (0, 2), (1, 3), (2, 3), (0, 3)];
    insta::assert_snapshot!(marks(&Chart::Graph(Graph { nodes, edges })));
}

#[test]
fn a_heat_map_with_a_gap() {
    insta::assert_snapshot!(marks(&Chart::Heat(Heat {
        x: "lr".into(),
        columns: vec!["0.1".into(), "0.2".into()],
        y: "lambda".into(),
        rows: vec!["1".into()],
        values: vec![vec![Some(0.5), None]],
    })));
}

#[test]
fn a_plane_whose_cells_of_one_class_are_one_shape() {
    let group = |domain: &str, form, class, point| SampleGroup {
        domain: domain.into(),
        form,
        class,
        points: vec![point],
    };
    insta::assert_snapshot!(marks(&Chart::Boundary(BoundaryChart {
        classes: vec!["lower".into(), "upper".into()],
        x: vec![0.0, 1.0, 2.0, 3.0],
        y: vec![-1.0, 0.0],
        cells: vec![
            vec![Some(0), Some(0), None, Some(1)],
            vec![Some(0), Some(1), Some(1), Some(1)],
        ],
        groups: vec![group("source", 0, 0, (0.0, -1.0)), group("target", 1, 1, (3.0, 0.0))],
    })));
}

#[test]
fn texts_are_never_marks() {
    let hostile = "</svg><script>alert(\"1\")</script>&'\u{1}";
    let mut graph = node(hostile);
    graph.kind = hostile.into();
    graph.state = hostile.into();
    graph.note = hostile.into();
    let charts = [
        lines(hostile),
        Chart::Graph(Graph { nodes: vec![graph], edges: vec![] }),
        Chart::Bars(Bars {
            unit: hostile.into(),
            bars: vec![Bar { name: hostile.into(), value: 1.0 }],
        }),
        Chart::Scatter(Scatter {
            groups: vec![PointGroup { name: hostile.into(), points: vec![(0.0, 0.0)] }],
            shapes: true,
        }),
        Chart::Heat(Heat {
            x: hostile.into(),
            columns: vec![hostile.into()],
            y: hostile.into(),
            rows: vec![hostile.into()],
            values: vec![vec![Some(1.0)]],
        }),
        Chart::Confusion(ConfusionChart {
            classes: vec![hostile.into()],
            counts: [((0, 0), 3.0)].into(),
        }),
        Chart::Parallel(Parallel {
            axes: vec![
                Upright {
                    name: hostile.into(),
                    scale: Scale::Names(vec![hostile.into()]),
                    values: vec![Some(0.0)],
                },
                Upright { name: "y".into(), scale: Scale::Linear, values: vec![Some(0.0)] },
            ],
            names: vec![hostile.into()],
        }),
    ];
    for chart in charts {
        let text = draw(&chart).file(hostile, hostile);
        assert!(!text.contains("<script") && !text.contains('\u{1}'), "{text}");
        // Well formed: the reader of SVG takes it.
        png(&text, 0.2).unwrap();
    }
}

#[test]
fn numbers_without_a_place_do_not_break_a_drawing() {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, 1e308, -1e308];
    let points: Vec<(f64, f64)> = odd.iter().flat_map(|x| odd.iter().map(|y| (*x, *y))).collect();
    for scale in [Scale::Linear, Scale::Whole, Scale::Log, Scale::Names(Vec::new())] {
        let chart = LineChart {
            x: "x".into(),
            scale,
            y: "y".into(),
            series: vec![series(&points)],
            faint: false,
            joined: true,
            keys: vec![],
        };
        let text = draw(&Chart::Lines(chart)).file("a", "b");
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        png(&text, 0.2).unwrap();
    }
    let empty = [
        Chart::Lines(LineChart {
            x: "x".into(),
            scale: Scale::Log,
            y: "y".into(),
            series: vec![],
            faint: false,
            joined: true,
            keys: vec![],
        }),
        Chart::Graph(Graph { nodes: vec![], edges: vec![(3, 4)] }),
        Chart::Confusion(ConfusionChart { classes: vec![], counts: [].into() }),
        Chart::Parallel(Parallel { axes: vec![], names: vec![] }),
        Chart::Scatter(Scatter { groups: vec![], shapes: false }),
        Chart::Bars(Bars { unit: "s".into(), bars: vec![] }),
    ];
    for chart in empty {
        png(&draw(&chart).file("a", "b"), 0.2).unwrap();
    }
}

#[test]
fn a_circle_of_stages_is_drawn_and_ends() {
    let nodes = ["a", "b", "c"].map(node).to_vec();
    let text = marks(&Chart::Graph(Graph { nodes, edges: vec![(0, 1), (1, 2), (2, 0), (1, 1)] }));
    assert_eq!(text.matches("class=\"node").count(), 3);
}

#[test]
fn a_file_is_as_wide_as_its_title() {
    let picture = draw(&lines("train"));
    let width = |title: &str| {
        let text = picture.file(title, "about");
        let (_, rest) = text.split_once(" width=\"").unwrap();
        rest.split('"').next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(width("short"), width(""));
    let long = "a title of many words ".repeat(9);
    assert!(width(&long) > width("") && width(&long) > 1000.0, "{}", width(&long));
}

#[test]
fn a_png_has_its_text_without_the_machines_fonts_and_the_same_bytes() {
    let with = png(&draw(&lines("train")).file("A title", "about"), 1.0).unwrap();
    let without = png(&draw(&lines("train")).file("", "about"), 1.0).unwrap();
    assert_eq!(with, png(&draw(&lines("train")).file("A title", "about"), 1.0).unwrap());
    let dark = |bytes: &[u8]| {
        let image = image::load_from_memory(bytes).unwrap().to_luma8();
        image.rows().take(28).flatten().filter(|it| it.0[0] < 128).count()
    };
    assert_eq!(dark(&without), 0);
    assert!(dark(&with) > 100, "{} dark pixels where the title should be", dark(&with));
}

#[test]
fn a_legend_is_no_higher_than_its_chart_and_says_what_it_leaves_out() {
    let group = |at: usize| PointGroup { name: format!("class number {at}"), points: vec![] };
    let many = Scatter { groups: (0..200).map(group).collect(), shapes: false };
    let few = Scatter { groups: (0..3).map(group).collect(), shapes: false };
    let [many, few] = [many, few].map(|it| draw(&Chart::Scatter(it)));
    assert!(many.height <= 2.0 * 362.0, "{}", many.height);
    let named = many.body.matches(">class number ").count();
    assert!((30..200).contains(&named), "{named}");
    assert!(many.body.contains(&format!(">and {} more<", 200 - named)), "{}", many.body);
    assert!(!few.body.contains(" more<"));
}

#[test]
fn names_that_differ_still_do_when_they_are_shortened() {
    let name = |end: &str| format!("{}{end}", "the same beginning of all of them, ".repeat(4));
    let (a, b, c) = (name("lr = 0.1"), name("lr = 0.2"), format!("{}end", name("lr = 0.1")));
    let shown = canvas::fitted_apart(&[&a, &b, &a], 11.0, 200.0);
    assert_eq!((&shown[0], shown[0] == shown[1]), (&shown[2], false), "{shown:?}");
    assert!(shown.iter().all(|it| canvas::width_of(it, 11.0) <= 200.0), "{shown:?}");
    let middles = ["0.1", "0.2"].map(|it| format!("{}{it}{}", "x".repeat(60), "y".repeat(60)));
    let shown = canvas::fitted_apart(&[&middles[0], &middles[1]], 11.0, 200.0);
    assert!(shown[0].contains("0.1") && shown[1].contains("0.2"), "{shown:?}");
    let hidden = ["1", "2"].map(|it| format!("a{}{it}{}", "x".repeat(60), "y".repeat(60)));
    let both = [&*hidden[0], "b", &*hidden[1]];
    let shown = canvas::fitted_apart(&both, 11.0, 200.0);
    assert!(shown[0].starts_with("1: a") && shown[2].starts_with("3: a"), "{shown:?}");
    assert_eq!(canvas::fitted_apart(&[&c], 11.0, 2000.0)[0], c);
}
