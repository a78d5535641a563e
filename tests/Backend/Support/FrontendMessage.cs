using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>What vhost-user says of one message of a front-end, and how this back-end answers it.</summary>
/// <param name="Request">Which.</param>
/// <param name="Sizes">Bytes that its payload may have, the least first.</param>
internal sealed record FrontendMessage(VhostUserRequest Request, params int[] Sizes)
{
    /// <summary>The fewest descriptors with any payload.</summary>
    public int Fewest { get; init; }

    /// <summary>The most descriptors with any payload.</summary>
    public int Most { get; init; }

    /// <summary>Descriptors that go with the message that <see cref="MessageSession.Legal"/> makes; others are too many or too few for it.</summary>
    public int Usual { get => Math.Max(field, Fewest); init; }

    /// <summary>Any number of descriptors from the fewest to the most is taken, whatever the payload says.</summary>
    public bool IsLenient { get; init; }

    /// <summary>Bytes of its own answer to the message that <see cref="MessageSession.Legal"/> makes; null: it is acknowledged.</summary>
    public int? Answer { get; init; }

    /// <summary>Descriptors with that answer.</summary>
    public int AnswerDescriptors { get; init; }

    /// <summary>Protocol features that must be acknowledged.</summary>
    public VhostUserProtocolFeatures Protocol { get; init; }

    /// <summary>The same, where not the table of contracts looks at it but the one who acts on the message: without it the message has another form.</summary>
    public VhostUserProtocolFeatures FormProtocol { get; init; }

    /// <summary>Protocol features that need only be offered.</summary>
    public VhostUserProtocolFeatures OfferedProtocol { get; init; }

    /// <summary>Features that must be acknowledged.</summary>
    public VirtioFeatures Features { get; init; }

    /// <summary>Features that need only be offered.</summary>
    public VirtioFeatures Offered { get; init; }

    /// <summary>Features that must not be acknowledged.</summary>
    public VirtioFeatures Forbidden { get; init; }

    /// <summary>A refusal has eight bytes: a front-end that awaits an answer of eight, or of any number, could not tell them apart, so it loses the connection.</summary>
    public bool EndsWhenRefused => Answer == sizeof(ulong) || Request == VhostUserRequest.GetSharedObject;

    /// <summary>One byte less and one byte more than each size that is allowed.</summary>
    public IEnumerable<int> WrongSizes => Sizes.SelectMany(static size => new[] { size - 1, size + 1 }).Where(size => size >= 0 && !Sizes.Contains(size)).Distinct();

    /// <summary>One descriptor less, one more, one more than any payload has, and as many as any message may have.</summary>
    public IEnumerable<int> WrongCounts => new[] { Usual - 1, Usual + 1, Most + 1, 8 }
        .Where(count => count is >= 0 and <= 8 && (IsLenient ? count < Fewest || count > Most : count != Usual)).Distinct();

    /// <summary>Each feature that can be withheld: the one that stands for the protocol's features themselves (bit 30) is always offered.</summary>
    public IEnumerable<MessageGate> Gates =>
    [
        .. BitsOf((ulong)(Protocol | FormProtocol)).Select(static bit => OfProtocol(bit, isOffer: false)),
        .. BitsOf((ulong)OfferedProtocol).Select(static bit => OfProtocol(bit, isOffer: true)),
        .. BitsOf((ulong)Features).Select(static bit => OfFeatures(bit)),
        .. BitsOf((ulong)(Offered & ~VirtioFeatures.VhostUserProtocolFeatures)).Select(static bit => OfFeatures(bit) with { IsOffer = true }),
        .. BitsOf((ulong)Forbidden).Select(static bit => OfFeatures(bit) with { Excludes = true }),
    ];

    private static MessageGate OfProtocol(int bit, bool isOffer) => new(FeatureNames.OfProtocolBit(bit), (VhostUserProtocolFeatures)(1UL << bit), IsOffer: isOffer);

    private static MessageGate OfFeatures(int bit) => new(FeatureNames.OfVirtioBit(bit), Features: (VirtioFeatures)(1UL << bit));

    private static IEnumerable<int> BitsOf(ulong word) => Enumerable.Range(0, 64).Where(bit => (word >> bit & 1) != 0);
}
