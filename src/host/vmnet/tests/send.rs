//! Writing to a fake vmnet, and stopping it.

use super::*;

// Send.

#[test]
fn many_frames_go_in_batches_of_what_the_interface_takes() {
    let (wire, mut host) = host();
    assert_eq!(host.send(&batch_of(packets(600))).unwrap(), 600);
    assert_eq!(wire.writes(), [256, 256, 88]);
    assert!(packets(600).eq(wire.all_taken()));

    let (wire, mut host) = host_with(Told { write_max_packets: 50, ..Told::default() });
    assert_eq!(host.send(&batch_of(packets(120))).unwrap(), 120);
    assert_eq!(wire.writes(), [50, 50, 20]);
}

#[test]
fn a_partial_write_is_gone_on_with_where_it_stopped() {
    let (wire, mut host) = host();
    wire.set_most_a_write(10);
    assert_eq!(host.send(&batch_of(packets(35))).unwrap(), 35);
    assert_eq!(wire.writes(), [35, 25, 15, 5]);
    assert!(packets(35).eq(wire.all_taken()), "each once, in order");
}

#[test]
fn a_full_host_loses_frames_and_no_more() {
    let (wire, mut host) = host();
    wire.set_room(5);
    assert_eq!(host.send(&batch_of(packets(8))).unwrap(), 5);
    assert_eq!(host.send(&batch_of(packets(8))).unwrap(), 0);
    for _ in 0..100 {
        assert_eq!(host.send(&batch_of(packets(1))).unwrap(), 0, "however long it lasts");
    }
    wire.set_room(8);
    assert_eq!(host.send(&batch_of(packets(8))).unwrap(), 8);
}

#[test]
fn a_write_that_takes_nothing_ends_the_batch() {
    let (wire, mut host) = host();
    wire.set_most_a_write(0);
    assert_eq!(host.send(&batch_of(packets(8))).unwrap(), 0);
    assert_eq!(wire.writes(), [8]);
}

#[test]
fn too_many_packets_are_offered_in_halves() {
    let (wire, mut host) = host();
    wire.fail_writes([fault(Status::TooManyPackets), fault(Status::TooManyPackets)]);
    assert_eq!(host.send(&batch_of(packets(64))).unwrap(), 64);
    assert_eq!(wire.writes(), [64, 32, 16, 16, 16, 16]);
    wire.fail_writes([fault(Status::TooManyPackets)]);
    assert_eq!(host.send(&batch_of(packets(1))).unwrap(), 0, "one is as few as it gets");
}

#[test]
fn an_oversize_frame_does_not_take_its_neighbours_with_it() {
    let (wire, mut host) = host_with(Told { max_packet_size: 100, mtu: 86, ..Told::default() });
    let frames = [vec![1; 60], vec![2; 101], vec![3; 100]];
    assert_eq!(host.send(&batch_of(frames)).unwrap(), 2);
    assert_eq!(wire.all_taken(), [vec![1; 60], vec![3; 100]]);
}

#[test]
fn a_refused_write_costs_its_frames_until_it_is_plain_that_nothing_else_comes() {
    let (wire, mut host) = host_with(Told { write_max_packets: 4, ..Told::default() });
    wire.fail_writes([fault(Status::PacketTooBig)]);
    assert_eq!(host.send(&batch_of(packets(10))).unwrap(), 6, "the frames of the other calls are taken");
    wire.cut(Status::Failure);
    let mut sends = (0..100).map(|_| host.send(&batch_of(packets(1))));
    let lost = sends.find_map(Result::err).expect("an end");
    assert!(lost.to_string().contains("VMNET_FAILURE"));
}

// Stop and forwards.

#[test]
fn the_callback_goes_before_the_interface() {
    let (wire, host) = host();
    Box::new(host).stop().unwrap();
    assert_eq!(wire.calls(), [Call::SetCallback, Call::ClearCallback, Call::Finalize]);
}

#[test]
fn stopping_in_a_storm_of_callbacks_does_not_hang() {
    let (wire, host) = host();
    let storm = {
        let wire = wire.clone();
        thread::spawn(move || (0..1000).for_each(|_| wire.storm(100)))
    };
    Box::new(host).stop().unwrap();
    storm.join().unwrap();
}

#[test]
fn what_fails_while_stopping_is_reported_and_stops_nothing() {
    let (wire, host) = host();
    wire.refuse_callback(fault(Status::InvalidArgument));
    wire.refuse_stop(fault(Status::Failure));
    let error = Box::new(host).stop().unwrap_err().to_string();
    assert!(error.contains("callback: VMNET_INVALID_ARGUMENT") && error.contains("stop: VMNET_FAILURE"), "{error}");
    assert_eq!(wire.calls(), [Call::SetCallback, Call::ClearCallback, Call::Finalize]);
}

#[test]
fn a_stop_that_vmnet_never_confirms_ends_in_bounded_time() {
    let (wire, host) = host();
    wire.hang_stop();
    let start = Instant::now();
    assert!(Box::new(host).stop().unwrap_err().to_string().contains("has not stopped"));
    assert!(start.elapsed() < STOP_WITHIN + Duration::from_secs(2));
}
