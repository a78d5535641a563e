using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>The stream of a device's state: all of it, within the patience of the run, whatever the other end does.</summary>
public sealed class StatePipeTests : IDisposable
{
    private static readonly TimeSpan _patience = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan _longPatience = TimeSpan.FromSeconds(10);

    private readonly SafeFileHandle _reader;
    private readonly SafeFileHandle _writer;

    public StatePipeTests() => (_reader, _writer) = Libc.Pipe();

    [Fact]
    public async Task Everything_up_to_the_end_is_read()
    {
        byte[] state = State(200_000);

        Task<byte[]> read = StatePipe.ReadAsync(_reader, _longPatience);
        await StatePipe.WriteAsync(_writer, state, 1000, _longPatience).InTime();

        (await read.InTime()).Should().Equal(state);
    }

    [Fact]
    public async Task An_end_that_does_not_come_is_not_waited_for()
    {
        Libc.Write(_writer, [1, 2, 3]);

        CaseEndedException ended = await Ends(StatePipe.ReadAsync(_reader, _patience));

        ended.Came.Should().Be("the end does not come");
    }

    [Fact]
    public async Task Nor_is_somebody_who_reads_nothing()
    {
        CaseEndedException ended = await Ends(StatePipe.WriteAsync(_writer, State(1 << 20), 4096, _patience));

        ended.Expected.Should().Be("the state is read");
        ended.Came.Should().Be("it is not");
    }

    [Fact]
    public async Task A_state_of_which_only_a_part_was_taken_is_not_loaded()
    {
        byte[] state = State(1 << 20);

        Task write = StatePipe.WriteAsync(_writer, state, 4096, _longPatience);
        Libc.Read(_reader, new byte[1]);
        _reader.Dispose();
        CaseEndedException ended = await Ends(write);

        ended.Verdict.Should().Be(ConformanceVerdict.Fail);
        ended.Expected.Should().Be($"the whole state is read, {state.Length} bytes");
    }

    [Fact]
    public async Task Where_it_need_not_be_read_to_its_end_the_part_counts()
    {
        Task<int> write = StatePipe.WriteAsFarAsync(_writer, State(1 << 20), int.MaxValue, _longPatience);
        Libc.Read(_reader, new byte[1]);
        _reader.Dispose();

        (await write.InTime()).Should().BeInRange(1, (1 << 20) - 1);
    }

    [Fact]
    public async Task The_wrong_end_is_the_fault_of_who_sent_it()
    {
        (await Ends(StatePipe.ReadAsync(_writer, _patience))).Verdict.Should().Be(ConformanceVerdict.Fail);
    }

    [Fact]
    public async Task A_channel_that_the_suite_does_not_use_is_nobodys_fault()
    {
        using SafeFileHandle file = File.OpenHandle("/dev/null");

        (await Ends(StatePipe.ReadAsync(file, _patience))).Verdict.Should().Be(ConformanceVerdict.Skip);
    }

    [Fact]
    public async Task Nor_is_a_socket_of_messages()
    {
        using TempSocket place = new();
        (await Ends(StatePipe.ReadAsync(RawDescriptors.DatagramSocket(place.Path), _patience))).Verdict.Should().Be(ConformanceVerdict.Skip);
    }

    [Fact]
    public async Task What_can_be_no_channel_is_the_fault_of_who_sent_it()
    {
        using EventNotifier counter = new();
        (await Ends(StatePipe.ReadAsync(Libc.Duplicate(counter.Descriptor), _patience))).Verdict.Should().Be(ConformanceVerdict.Fail);
    }

    public void Dispose()
    {
        _reader.Dispose();
        _writer.Dispose();
    }

    private static byte[] State(int length)
    {
        byte[] state = new byte[length];
        new Random(1).NextBytes(state);
        return state;
    }

    private static async Task<CaseEndedException> Ends(Task operation) =>
        (await operation.Awaiting(static operation => operation.InTime()).Should().ThrowAsync<CaseEndedException>()).Which;
}
