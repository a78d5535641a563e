using System.Runtime.InteropServices;
using Vhost.Protocol;
using Vhost.Tests.Support;
using static Vhost.Frontend.Tests.SharingSteps;

namespace Vhost.Frontend.Tests;

/// <summary>
/// A session that does all that a back-end can ask for, and the back-end that asks. Each of its requests is carried out here, so that one that is refused is refused for what is wrong with it and for nothing else.
/// </summary>
internal sealed class AskingScene : IAsyncDisposable
{
    private const ulong IoAddress = 0x7000_0000;
    private const int Batch = 64;

    private const VhostUserProtocolFeatures Everything = BackendOffer.UsualProtocol | SharedFeatures | VhostUserProtocolFeatures.InbandNotifications;

    private static readonly Guid _ours = new("11111111-2222-3333-4444-555555555555");
    private static readonly Guid _theirs = new("66666666-7777-8888-9999-aaaaaaaaaaaa");

    private readonly SharedMemory _file = SharedMemory.CreateSealed("asked", Page);
    private readonly EventNotifier _error = new();
    private readonly SharedObjectRegistry _registry = new();
    private readonly Doorbells _doorbells = new();
    private readonly TestRings _rings;
    private SharedMemoryRegions? _regions;
    private EventNotifier? _call;

    private AskingScene(TestRings rings)
    {
        _rings = rings;
        _registry.Add(_ours, Libc.Duplicate(_file.Descriptor));
        Iommu.Map(new(IoAddress), rings.Memory.Regions[0].GuestAddress, 3 * Page);
    }

    public IommuMappings Iommu { get; } = new();

    public Dialogue Dialogue { get; private set; } = null!;

    public VhostUserFrontend Session => Dialogue.Session;

    public FrontendVring Ring { get; private set; } = null!;

    /// <summary>A session without memory, rings and regions yet.</summary>
    public static async Task<AskingScene> StartAsync(
        TestRings rings, VhostUserProtocolFeatures withheld = VhostUserProtocolFeatures.None, VirtioFeatures withheldFeatures = VirtioFeatures.None,
        LogRecorder? log = null, TimeProvider? clock = null)
    {
        AskingScene scene = new(rings);
        BackendOffer offer = new();
        offer = offer with { Features = (offer.Features | VirtioFeatures.AccessPlatform) & ~withheldFeatures, Protocol = Everything & ~withheld };
        scene.Dialogue = await Dialogue.StartAsync(offer, new VhostUserFrontendOptions
        {
            WantedProtocolFeatures = Everything,
            Iommu = scene.Iommu,
            SharedObjects = scene._registry,
            HostNotifiers = scene._doorbells,
            LoggerFactory = log,
            TimeProvider = clock ?? TimeProvider.System,
        });
        byte[] config = new byte[VhostUserShmemConfig.Size];
        VhostUserShmemConfig.Write([Page], config);
        scene.Dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.GetShmemConfig ? Misbehaviour.Reply(request.Code, config) : null;
        return scene;
    }

    /// <summary>A session with all that its back-end needs to ask.</summary>
    public static async Task<AskingScene> PreparedAsync(
        TestRings rings, VhostUserProtocolFeatures withheld = VhostUserProtocolFeatures.None, VirtioFeatures withheldFeatures = VirtioFeatures.None,
        LogRecorder? log = null, TimeProvider? clock = null)
    {
        AskingScene scene = await StartAsync(rings, withheld, withheldFeatures, log, clock);
        await scene.PrepareAsync();
        return scene;
    }

    /// <summary>Gives memory, starts a ring, and reserves addresses for what is mapped.</summary>
    public async Task PrepareAsync()
    {
        await Session.SetMemoryAsync(_rings.Memory);
        VringSettings settings = _rings[0] with { Error = _error };
        _call = settings.Call;
        Ring = await Session.StartVringAsync(settings);
        if (Session.ProtocolFeatures.HasFlag(VhostUserProtocolFeatures.Shmem))
            _regions = await Session.ReserveSharedMemoryAsync();
    }

    /// <summary>Asks for what must be there before the request makes sense.</summary>
    public async Task LeadAsync(VhostUserBackendRequest request)
    {
        if (request == VhostUserBackendRequest.SharedObjectRemove)
            (await AskAsync(VhostUserBackendRequest.SharedObjectAdd)).Should().Be(0);
        if (request == VhostUserBackendRequest.ShmemUnmap)
            (await AskAsync(VhostUserBackendRequest.ShmemMap)).Should().Be(0);
    }

    /// <summary>The payload of a request that is carried out, in another size if that is asked for.</summary>
    public static byte[] PayloadOf(VhostUserBackendRequest request, int? size = null)
    {
        byte[] payload = request switch
        {
            VhostUserBackendRequest.IotlbMsg => Bytes(Iotlb(VhostUserIotlbType.Miss)),
            VhostUserBackendRequest.VringHostNotifierMsg => Bytes(Doorbell(0)),
            VhostUserBackendRequest.VringCall or VhostUserBackendRequest.VringErr => Bytes(new VhostUserVringState(0, 0)),
            VhostUserBackendRequest.SharedObjectAdd or VhostUserBackendRequest.SharedObjectRemove => Bytes(new VhostUserSharedObject(_theirs)),
            VhostUserBackendRequest.SharedObjectLookup => Bytes(new VhostUserSharedObject(_ours)),
            VhostUserBackendRequest.ShmemMap or VhostUserBackendRequest.ShmemUnmap => Bytes(new VhostUserShmemMap(0, 0, 0, Page, VhostUserShmemMapFlags.ReadWrite)),
            _ => [],
        };
        Array.Resize(ref payload, size ?? payload.Length);
        return payload;
    }

    /// <summary>A message about a translation that there is.</summary>
    public static VhostUserIotlb Iotlb(VhostUserIotlbType type) => new(new(IoAddress), Page, default, VhostUserIotlbPermission.ReadOnly, type);

    public static byte[] Bytes<TPayload>(TPayload payload)
        where TPayload : struct, IVhostUserPayload<TPayload>
    {
        byte[] bytes = new byte[payload.EncodedSize];
        payload.Write(bytes);
        return bytes;
    }

    /// <summary>What came of the requests so far; whether the driver was called, and told of an error, since it was asked for last.</summary>
    public Outcome TakeOutcome() => new(
        _doorbells.Pages.Count, _registry.Count, _regions?.MappingCount ?? 0, Iommu.Lookups, _call!.TryConsume(), _error.TryConsume());

    /// <summary>The request as it should be; the answer.</summary>
    public Task<ulong> AskAsync(VhostUserBackendRequest request) => AskAsync(request, PayloadOf(request), BackendMessage.Of(request).Descriptors);

    public async Task<ulong> AskAsync(VhostUserBackendRequest request, byte[] payload, int descriptors)
    {
        await SendAsync(request, payload, descriptors, needReply: true);
        return await AnswerAsync(request);
    }

    public ValueTask SendAsync(VhostUserBackendRequest request, byte[] payload, int descriptors, bool needReply) => Dialogue.Backend.Channel!.SendAsync(
        VhostUserHeader.ForRequest(request, payload.Length, needReply), payload, Enumerable.Repeat<SafeHandle>(_file.Descriptor, descriptors).ToArray());

    /// <summary>The next answer on the channel, which is to this request.</summary>
    public async Task<ulong> AnswerAsync(VhostUserBackendRequest request)
    {
        using VhostUserMessage? reply = await Dialogue.Backend.Channel!.ReceiveAsync().InTime();
        reply.Should().NotBeNull("the channel goes on");
        reply!.Header.Should().Be(new VhostUserHeader((uint)request, VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.Reply, 8));
        ulong answer = BitConverter.ToUInt64(reply.Payload);
        reply.DescriptorCount.Should().Be(answer == 0 && BackendMessage.Of(request).IsAlwaysAnswered ? 1 : 0);
        return answer;
    }

    /// <summary>
    /// Says the same again and again, and waits for an answer now and then, so that the session is never far behind. What was refused unseen shows in that answer: what is done twice, or undone, is refused.
    /// </summary>
    public async Task RepeatAsync(int times, params (VhostUserBackendRequest Request, byte[] Payload)[] turn)
    {
        Queue<VhostUserBackendRequest> due = new();
        (BackendMessage Message, byte[] Payload)[] said = Array.ConvertAll(turn, static one => (BackendMessage.Of(one.Request), one.Payload));
        for (int done = 1; done <= times; done++)
        {
            bool asks = done % Batch == 0 || done == times;
            foreach ((BackendMessage message, byte[] payload) in said)
            {
                await SendAsync(message.Request, payload, message.Descriptors, asks);
                if (asks || message.IsAlwaysAnswered)
                    due.Enqueue(message.Request);
            }

            while (asks && due.TryDequeue(out VhostUserBackendRequest request))
                (await AnswerAsync(request)).Should().Be(0, "{0} is done", request);
        }
    }

    /// <summary>Both channels are served.</summary>
    public async Task GoesOnAsync()
    {
        (await AskAsync(Session.ProtocolFeatures.HasFlag(VhostUserProtocolFeatures.Config) ? VhostUserBackendRequest.ConfigChangeMsg : VhostUserBackendRequest.SharedObjectLookup)).Should().Be(0);
        (await Session.Requests.GetFeaturesAsync().InTime()).Should().Be(Dialogue.Backend.Offer.Features);
        Session.Completion.IsCompleted.Should().BeFalse();
    }

    public async ValueTask DisposeAsync()
    {
        await Dialogue.DisposeAsync();
        _regions?.Dispose();
        _registry.Dispose();
        _error.Dispose();
        _file.Dispose();
    }

    /// <summary>What a back-end has brought about.</summary>
    public readonly record struct Outcome(int Pages, int Objects, int Mappings, long Translations, bool Called, bool Told);
}
