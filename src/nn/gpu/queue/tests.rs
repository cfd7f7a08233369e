use super::*;
use crate::nn::gpu::pool::{MOST_SPARE, MOST_SPARED};
use crate::stand_in;

fn queue() -> Option<Rc<Queue>> {
    stand_in::here()?;
    Some(Queue::new(Gpu::open(0).unwrap()).unwrap())
}

const ONE: Grid = Grid { blocks: [1, 1, 1], threads: 256 };

/// Adds `more` to ten numbers four times.
fn step(queue: &Rc<Queue>, sum: &Block, more: f32) {
    for _ in 0..4 {
        let room = queue.block(40).unwrap();
        let len = Arg::count(10).into();
        let filled = [len, Given::Numbers(&[more]), room.arg().into()];
        queue.launch(Kernel::Fill, ONE, &filled).unwrap();
        let added = [len, room.arg().into(), sum.arg().into()];
        queue.launch(Kernel::Accumulate, ONE, &added).unwrap();
    }
    queue.submit().unwrap();
}

#[test]
fn a_step_that_comes_again_is_one_call_and_gives_what_single_calls_give() {
    let Some(queue) = queue() else { return };
    let stand_in = stand_in::here().unwrap();
    let sum = queue.upload(&[1.0_f32; 10]).unwrap();
    queue.submit().unwrap();
    let before = (stand_in.count("graph_launches"), stand_in.count("instantiations"));
    // The numbers are others at each step.
    for more in 1..=20_u8 {
        step(&queue, &sum, f32::from(more));
    }
    let mut found = [0.0; 10];
    queue.download(&sum, &mut found).unwrap();
    assert_eq!(found, [841.0; 10], "1 + 4 (1 + ... + 20)");
    // The first step takes new memory, which the others find again.
    assert!(stand_in.count("graph_launches") - before.0 >= 18);
    assert_eq!(stand_in.count("instantiations") - before.1, 1);
}

#[test]
fn a_list_is_found_whatever_came_after_the_one_before_it_last_time() {
    let Some(queue) = queue() else { return };
    let stand_in = stand_in::here().unwrap();
    let sums = [0.0_f32; 2].map(|zero| queue.upload(&[zero; 10]).unwrap());
    queue.submit().unwrap();
    let before = stand_in.count("graph_launches");
    let order = [0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0, 1, 0, 0, 1];
    for at in order {
        step(&queue, &sums[at], 1.0);
    }
    // The first of each is not worth a graph.
    assert_eq!(stand_in.count("graph_launches") - before, order.len() as u64 - 2);
    for sum in &sums {
        let mut found = [0.0; 10];
        queue.download(sum, &mut found).unwrap();
        assert_eq!(found, [32.0; 10], "eight steps that add four each");
    }
}

#[test]
fn lists_that_never_come_again_are_forgotten_and_cost_no_graph() {
    let Some(queue) = queue() else { return };
    let sums: Vec<Block> = (0..200).map(|_| queue.upload(&[0.0_f32; 10]).unwrap()).collect();
    queue.submit().unwrap();
    sums.iter().for_each(|sum| step(&queue, sum, 1.0));
    let mut found = [0.0; 10];
    for sum in &sums {
        queue.download(sum, &mut found).unwrap();
        assert_eq!(found, [4.0; 10]);
    }
}

#[test]
fn more_than_fits_at_first_is_sent_and_kept() {
    let Some(queue) = queue() else { return };
    #[expect(clippy::cast_precision_loss, reason = "whole numbers below 2^24")]
    let values = |len: usize| (0..len).map(|at| at as f32).collect::<Vec<f32>>();
    let blocks: Vec<(Block, usize)> = [1, 70_000, 3, 200_000, 17_000_000, 5]
        .into_iter()
        .map(|len| (queue.upload(&values(len)).unwrap(), len))
        .collect();
    for (block, len) in &blocks {
        let mut found = vec![-1.0; *len];
        queue.download(block, &mut found).unwrap();
        assert!(found == values(*len), "{len}");
    }
}

/// Where a block of so many bytes lies, which is named before nobody needs it any more.
fn temporary(queue: &Rc<Queue>, bytes: usize) -> u64 {
    let block = queue.block(bytes).unwrap();
    queue.zero(&block).unwrap();
    block.place.at
}

#[test]
fn a_list_uses_small_memory_once_and_another_list_uses_it_again() {
    let Some(queue) = queue() else { return };
    let first = [temporary(&queue, 40), temporary(&queue, 40), temporary(&queue, 40)];
    assert!(first[0] != first[1] && first[1] != first[2] && first[2] != first[0]);
    // What no call names is free for any.
    let unnamed = queue.block(40).unwrap().place.at;
    assert_eq!(temporary(&queue, 40), unnamed);
    queue.submit().unwrap();
    assert_eq!(
        [(); 3].map(|()| temporary(&queue, 40)),
        first,
        "in the order in which they were made"
    );
    // A block that is there from before counts as used once a call names it.
    queue.submit().unwrap();
    let kept = queue.block(40).unwrap();
    queue.submit().unwrap();
    queue.zero(&kept).unwrap();
    let at = kept.place.at;
    drop(kept);
    assert!((0..3).all(|_| temporary(&queue, 40) != at));
    // Large blocks are used twice, and the one first that has been free for longest.
    let large = 2 * MOST_SPARED;
    let blocks = [queue.block(large).unwrap(), queue.block(large).unwrap()];
    let [a, b] = blocks.each_ref().map(|it| {
        queue.zero(it).unwrap();
        it.place.at
    });
    let [first, second] = blocks;
    drop(second);
    drop(first);
    assert_eq!([temporary(&queue, large), temporary(&queue, large)], [b, a]);
}

#[test]
fn memory_to_spare_has_an_end_and_none_is_taken_once_the_gpu_has_no_more() {
    let Some(queue) = queue() else { return };
    let most = MOST_SPARED;
    let mut places: Vec<u64> = (0..200).map(|_| temporary(&queue, most)).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), 1 + MOST_SPARE / most);
    // Small ones of another size find nothing to spare either, and steps take no more.
    assert_eq!(temporary(&queue, 40), temporary(&queue, 40));
    let held = queue.state.borrow().pool.held();
    for _ in 0..3 {
        queue.submit().unwrap();
        (0..200).for_each(|_| assert!(places.contains(&temporary(&queue, most))));
    }
    assert_eq!(queue.state.borrow().pool.held(), held);

    let saving = Queue::new(Gpu::open(0).unwrap()).unwrap();
    saving.state.borrow_mut().pool.save();
    assert_eq!(temporary(&saving, 40), temporary(&saving, 40));
}

#[test]
fn a_step_finds_the_same_memory_every_time() {
    let Some(queue) = queue() else { return };
    // Other sizes at other times, some of them named beyond their list, as a step with a hand-over in its midst does.
    let step = || {
        let mut kept: Vec<Block> = Vec::new();
        let mut places = Vec::new();
        for at in 0..60_usize {
            let block = queue.block(300 * (1 + at % 7)).unwrap();
            queue.zero(&block).unwrap();
            places.push(block.place.at);
            if at % 3 == 0 {
                kept.push(block);
            }
            if at % 5 == 0 && !kept.is_empty() {
                kept.remove(0);
            }
            if at == 31 {
                queue.submit().unwrap();
            }
        }
        queue.submit().unwrap();
        places
    };
    step();
    let (second, held) = (step(), queue.state.borrow().pool.held());
    for _ in 0..5 {
        assert_eq!(step(), second);
    }
    assert_eq!(queue.state.borrow().pool.held(), held);
}

/// Asks for the sum of two blocks four times, of which one is sent: with numbers that come from source 7.
fn noted_step(queue: &Rc<Queue>, sum: &Block, more: f32) {
    let sent = queue.upload_from(Some(7), &[more; 10]).unwrap();
    for _ in 0..4 {
        let added = [Arg::count(10).into(), sent.arg().into(), sum.arg().into()];
        queue.launch(Kernel::Accumulate, ONE, &added).unwrap();
    }
    queue.submit().unwrap();
}

#[test]
fn what_was_noted_is_asked_for_again_with_other_numbers_after_the_same_calls() {
    let Some(queue) = queue() else { return };
    let sum = queue.upload(&[0.0_f32; 10]).unwrap();
    queue.submit().unwrap();
    let fill = |more: f32| {
        move |source: Source, sent: &mut [u8]| {
            assert_eq!((source, sent.len()), (7, 40));
            sent.chunks_exact_mut(4).for_each(|it| it.copy_from_slice(&more.to_ne_bytes()));
        }
    };
    let total = |queue: &Rc<Queue>| {
        let mut found = [0.0; 10];
        queue.download(&sum, &mut found).unwrap();
        assert_eq!(found, [found[0]; 10]);
        found[0]
    };
    // Numbers that are sent before each step, for the first of its lists.
    let first = |number: f32| queue.upload(&[number; 20]).unwrap();
    let noted = |more: f32| {
        let before = first(more);
        queue.note();
        noted_step(&queue, &sum, more);
        (before, queue.noted())
    };
    drop(noted(1.0));
    let (before, one) = noted(2.0);
    let one = one.unwrap();
    drop(before);
    let (before, two) = noted(3.0);
    assert_eq!(one.differs(two.as_ref().unwrap(), fill(3.0)), None);
    // 3 and 4 differ in their third byte; 80 were sent before.
    let why = one.differs(two.as_ref().unwrap(), fill(4.0)).unwrap();
    assert!(why.contains("what is sent with list 0 differs from byte 82 on"), "{why}");
    drop(before);
    assert!(!queue.can_repeat(&one), "nothing was sent before");
    let before = first(4.0);
    let in_use = queue.block(40).unwrap();
    assert!(!queue.can_repeat(&one), "other memory is in use");
    drop(in_use);
    assert!(queue.can_repeat(&one));
    queue.repeat(&one, fill(5.0)).unwrap();
    assert_eq!(total(&queue), 4.0 * (1.0 + 2.0 + 3.0 + 5.0));
    let mut found = [0.0; 20];
    queue.download(&before, &mut found).unwrap();
    assert_eq!(found, [4.0; 20], "what is sent before is sent anew");
    // What is read back, and memory that stays in use, is not noted.
    queue.note();
    total(&queue);
    assert!(queue.noted().is_none());
    queue.note();
    let kept = queue.block(40).unwrap();
    assert!(queue.noted().is_none());
    drop(kept);
}
