using System.Runtime.InteropServices;
using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

/// <summary>One payload of fixed layout: a value, and the bytes it must have, field by field.</summary>
public abstract record PayloadCase(string Name, int Size, int[] OtherSizes)
{
    public abstract byte[] Expected { get; }

    public abstract byte[] Encode();

    public abstract bool Decode(ReadOnlySpan<byte> payload, out object value);

    public abstract byte[] EncodeAgain(object value);

    public abstract object Value { get; }

    public abstract int EncodedSize { get; }

    public abstract void WriteTo(Span<byte> destination);

    /// <summary>Bytes allocated by a thousand encodings and decodings.</summary>
    public abstract long Allocated(byte[] buffer);

    public override string ToString() => Name;

    public static PayloadCase Of<T>(T value, int size, params (int Offset, object Field)[] fields)
        where T : struct, IVhostUserPayload<T> => new PayloadCase<T>(value, size, [], fields);

    public PayloadCase Also(params int[] sizes) => this with { OtherSizes = sizes };
}

public sealed record PayloadCase<T>(T Sample, int Bytes, int[] Others, (int Offset, object Field)[] Fields)
    : PayloadCase(typeof(T).Name, Bytes, Others)
    where T : struct, IVhostUserPayload<T>
{
    public override object Value => Sample;

    public override int EncodedSize => Sample.EncodedSize;

    public override byte[] Expected
    {
        get
        {
            byte[] bytes = new byte[Bytes];
            foreach ((int offset, object content) in Fields)
                Put(bytes.AsSpan(offset), content);
            return bytes;
        }
    }

    public override byte[] Encode() => EncodeAgain(Sample);

    public override byte[] EncodeAgain(object value)
    {
        byte[] bytes = new byte[((T)value).EncodedSize];
        bytes.AsSpan().Fill(0xa5);
        ((T)value).Write(bytes);
        return bytes;
    }

    public override void WriteTo(Span<byte> destination) => Sample.Write(destination);

    public override long Allocated(byte[] buffer) => Allocations.OfThisThread(() =>
    {
        for (int i = 0; i < 1000; i++)
        {
            Sample.Write(buffer);
            T.TryRead(buffer, out _);
        }
    });

    public override bool Decode(ReadOnlySpan<byte> payload, out object value)
    {
        bool read = T.TryRead(payload, out T result);
        value = result;
        return read;
    }

    public override string ToString() => Name;

    private static void Put(Span<byte> at, object field)
    {
        switch (field)
        {
            case byte v: at[0] = v; break;
            case ushort v: MemoryMarshal.Write(at, in v); break;
            case uint v: MemoryMarshal.Write(at, in v); break;
            case int v: MemoryMarshal.Write(at, in v); break;
            case ulong v: MemoryMarshal.Write(at, in v); break;
            case byte[] v: v.CopyTo(at); break;
            default: throw new ArgumentException($"no rule for {field.GetType()}");
        }
    }
}
