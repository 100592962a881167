<?php

namespace App\Form;

use Symfony\Component\Form\AbstractType;
use Symfony\Component\Form\Extension\Core\Type\TextareaType;
use Symfony\Component\Form\Extension\Core\Type\TextType;
use Symfony\Component\Form\FormBuilderInterface;
use Symfony\Component\Validator\Constraints\Length;
use Symfony\Component\Validator\Constraints\NotBlank;

final class PostType extends AbstractType
{
    public function buildForm(FormBuilderInterface $builder, array $options): void
    {
        $line = [new NotBlank(), new Length(max: 255)];
        $builder
            ->add('title', TextType::class, ['constraints' => $line])
            ->add('summary', TextType::class, ['constraints' => $line])
            ->add('content', TextareaType::class, [
                'attr' => ['rows' => 14],
                'constraints' => [new NotBlank(), new Length(max: 100000)],
                'help' => 'An empty line begins a new paragraph.',
            ])
            ->add('tags', TextType::class, [
                'required' => false,
                'constraints' => [new Length(max: 255)],
                'help' => 'With a comma between two.',
            ]);
    }
}
