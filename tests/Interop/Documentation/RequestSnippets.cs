using System.Buffers.Binary;
using System.Text;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The device of docs/devices.md that has features and configuration space of its own, with a driver that the test plays.</summary>
public sealed class RequestSnippets : IDisposable
{
    private readonly SnippetDriver _driver = new();

    public void Dispose() => _driver.Dispose();

    [Fact]
    public async Task A_device_answers_as_its_configuration_space_says()
    {
        CapitalsDevice device = new();
        await using VhostUserBackend backend = new(device);
        (VhostUserConnection frontEnd, VhostUserConnection backEnd) = VhostUserConnection.CreatePair();
        Task serving = backend.ServeAsync(backEnd);
        Listener listener = new();
        VhostUserFrontendOptions options = new() { WantedFeatures = device.Features, BackendRequests = listener };
        await using (VhostUserFrontend session = await VhostUserFrontend.StartAsync(frontEnd, options))
        {
            session.AcknowledgedFeatures.Should().HaveFlag((VirtioFeatures)1);
            (await LimitAsync(session)).Should().Be(16);
            await _driver.StartAsync(session);

            (await AskAsync("vhost-user", room: 16)).Should().Be("VHOST-USER");
            (await AskAsync("vhost-user", room: 9)).Should().BeEmpty("there is no room for the answer");
            (await AskAsync("longer than sixteen", room: 64)).Should().BeEmpty();

            await device.SetLimitAsync(32, backend);
            await listener.Changed.Task.InTime();
            (await LimitAsync(session)).Should().Be(32);
            (await AskAsync("longer than sixteen", room: 64)).Should().Be("LONGER THAN SIXTEEN");
        }

        await serving.InTime();
    }

    private static async Task<uint> LimitAsync(VhostUserFrontend session)
    {
        byte[] limit = new byte[4];
        await session.ReadConfigAsync(0, limit);
        return BinaryPrimitives.ReadUInt32LittleEndian(limit);
    }

    private async Task<string> AskAsync(string text, int room) => Encoding.ASCII.GetString(await _driver.AskAsync(Encoding.ASCII.GetBytes(text), room));

    private sealed class Listener : IVhostUserBackendRequestHandler
    {
        public TaskCompletionSource Changed { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public ValueTask OnConfigChangedAsync(CancellationToken cancellationToken)
        {
            Changed.TrySetResult();
            return ValueTask.CompletedTask;
        }
    }

    // snippet: capitals
    /// <summary>Answers each text in capitals. Its configuration space says how long a text may be.</summary>
    private sealed class CapitalsDevice : IVhostUserDevice
    {
        private const VirtioFeatures HasLimit = (VirtioFeatures)1; // bit 0 of this kind of device
        private const int MostLimit = 256;
        private uint _limit = 16;

        public int QueueCount => 1;

        public ushort MaxQueueSize => 256;

        public VirtioFeatures Features => HasLimit | VirtioFeatures.Version1 | VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex | VirtioFeatures.RingPacked;

        public int ConfigLength => sizeof(uint);

        public bool TryReadConfig(uint offset, Span<byte> destination)
        {
            Span<byte> config = stackalloc byte[ConfigLength];
            BinaryPrimitives.WriteUInt32LittleEndian(config, Volatile.Read(ref _limit));
            config.Slice((int)offset, destination.Length).CopyTo(destination); // what is asked for lies within ConfigLength
            return true;
        }

        public async ValueTask SetLimitAsync(uint limit, VhostUserBackend backend)
        {
            Volatile.Write(ref _limit, Math.Min(limit, MostLimit)); // first what the driver is going to read,
            await backend.NotifyConfigChangedAsync();               // then that there is something to be read
        }

        public void Process(DeviceVirtqueue queue)
        {
            for (int turn = 0; turn < 64 && queue.TryPop(out DescriptorChain request); turn++)
                queue.Complete(request, Answer(request.Readable, request.Writable));
        }

        /// <returns>How many bytes were written.</returns>
        private uint Answer(GuestBuffers question, GuestBuffers answer)
        {
            if (question.Length > Volatile.Read(ref _limit) || answer.Length < question.Length) // lengths are the driver's word
                return 0;
            Span<byte> text = stackalloc byte[MostLimit];
            text = text[..question.CopyTo(text)]; // once; checked and used is the copy, since a driver can change its bytes at any time
            Ascii.ToUpperInPlace(text, out _);
            return (uint)answer.CopyFrom(text);
        }
    }

    // end
}
