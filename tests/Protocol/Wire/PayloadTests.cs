using System.Reflection;
using FsCheck;
using FsCheck.Fluent;

namespace Vhost.Protocol.Tests;

public sealed class PayloadTests
{
    [Theory]
    [MemberData(nameof(PayloadCases.Names), MemberType = typeof(PayloadCases))]
    public void Encodes_every_field_at_its_offset_and_padding_as_zero(string name)
    {
        PayloadCase one = PayloadCases.Named(name);
        one.EncodedSize.Should().Be(one.Size);
        one.Encode().Should().Equal(one.Expected);
    }

    [Theory]
    [MemberData(nameof(PayloadCases.Names), MemberType = typeof(PayloadCases))]
    public void Decodes_what_it_encoded(string name)
    {
        PayloadCase one = PayloadCases.Named(name);
        one.Decode(one.Expected, out object value).Should().BeTrue();
        value.Should().Be(one.Value);
    }

    [Theory]
    [MemberData(nameof(PayloadCases.Names), MemberType = typeof(PayloadCases))]
    public void Refuses_every_other_size(string name)
    {
        PayloadCase one = PayloadCases.Named(name);
        byte[] bytes = new byte[one.Size + 16];
        for (int size = 0; size <= bytes.Length; size++)
        {
            bool legal = size == one.Size || one.OtherSizes.Contains(size);
            one.Decode(bytes.AsSpan(0, size), out _).Should().Be(legal, "{0} bytes were given", size);
        }
    }

    [Theory]
    [MemberData(nameof(PayloadCases.Names), MemberType = typeof(PayloadCases))]
    public void Decodes_the_form_without_padding_to_the_same_value(string name)
    {
        PayloadCase one = PayloadCases.Named(name);
        foreach (int size in one.OtherSizes)
        {
            one.Decode(one.Expected.AsSpan(0, size), out object value).Should().BeTrue();
            value.Should().Be(one.Value);
        }
    }

    [Theory]
    [MemberData(nameof(PayloadCases.Names), MemberType = typeof(PayloadCases))]
    public void Refuses_a_destination_that_is_too_small(string name)
    {
        PayloadCase one = PayloadCases.Named(name);
        byte[] small = new byte[one.Size - 1];
        one.Invoking(_ => one.WriteTo(small)).Should().Throw<ArgumentException>().WithMessage($"*{one.Size} are needed*");
    }

    [Theory]
    [MemberData(nameof(PayloadCases.Names), MemberType = typeof(PayloadCases))]
    public void Leaves_bytes_behind_the_payload_alone(string name)
    {
        PayloadCase one = PayloadCases.Named(name);
        byte[] large = new byte[one.Size + 8];
        large.AsSpan().Fill(0x5a);
        one.WriteTo(large);
        large.AsSpan(one.Size).ToArray().Should().AllBeEquivalentTo((byte)0x5a);
    }

    [Theory]
    [MemberData(nameof(PayloadCases.Names), MemberType = typeof(PayloadCases))]
    public void Any_bytes_survive_decoding_and_encoding(string name)
    {
        PayloadCase one = PayloadCases.Named(name);
        Prop.ForAll(Bytes(one.Size), bytes =>
        {
            one.Decode(bytes, out object first).Should().BeTrue();
            byte[] again = one.EncodeAgain(first);
            one.Decode(again, out object second).Should().BeTrue();
            second.Should().Be(first);
            one.EncodeAgain(second).Should().Equal(again);
        }).QuickCheckThrowOnFailure();
    }

    [Theory]
    [MemberData(nameof(PayloadCases.Names), MemberType = typeof(PayloadCases))]
    public void Allocates_nothing(string name)
    {
        PayloadCase one = PayloadCases.Named(name);
        byte[] buffer = new byte[one.Size];
        one.Allocated(buffer);
        one.Allocated(buffer).Should().Be(0);
    }

    [Fact]
    public void Every_fixed_payload_has_a_case()
    {
        IEnumerable<string> payloads = typeof(VhostUserHeader).Assembly.GetTypes()
            .Where(type => type.IsValueType && type.GetInterfaces().Any(Is))
            .Select(type => type.Name);
        payloads.Should().BeSubsetOf([.. PayloadCases.All.Select(one => one.Name), nameof(VhostUserConfig)]);

        static bool Is(Type type) => type.IsGenericType && type.GetGenericTypeDefinition() == typeof(IVhostUserPayload<>);
    }

    [Fact]
    public void Size_constants_agree_with_the_encoded_size()
    {
        foreach (PayloadCase one in PayloadCases.All)
        {
            Type type = one.Value.GetType();
            FieldInfo constant = (type.GetField("WireSize") ?? type.GetField("Size"))!;
            constant.GetRawConstantValue().Should().Be(one.Size, "{0} says so", type.Name);
        }
    }

    private static Arbitrary<byte[]> Bytes(int size) =>
        ArbMap.Default.GeneratorFor<byte>().ArrayOf(size).ToArbitrary();
}
